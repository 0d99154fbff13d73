package quota

import (
	"math"
	"math/bits"
)

// wide is a whole number of 128 bits, never negative. The largest that a
// token bucket makes is below 2^94.
type wide struct{ hi, lo uint64 }

// product multiplies two numbers that are not negative.
func product(a, b int64) wide {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return wide{hi, lo}
}

func (w wide) plus(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	hi, _ := bits.Add64(w.hi, v.hi, carry)
	return wide{hi, lo}
}

// minus subtracts; it stops at 0.
func (w wide) minus(v wide) wide {
	lo, borrow := bits.Sub64(w.lo, v.lo, 0)
	hi, under := bits.Sub64(w.hi, v.hi, borrow)
	if under != 0 {
		return wide{}
	}
	return wide{hi, lo}
}

func (w wide) atMost(v wide) bool {
	return w.hi < v.hi || (w.hi == v.hi && w.lo <= v.lo)
}

// over divides and rounds up; what does not fit is math.MaxInt64.
func (w wide) over(divisor int64) int64 {
	d := uint64(divisor)
	if w.hi >= d {
		return math.MaxInt64
	}
	quotient, rest := bits.Div64(w.hi, w.lo, d)
	if rest > 0 {
		quotient++
	}
	if quotient > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(quotient)
}
