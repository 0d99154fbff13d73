package plan

import (
	"math"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// guard estimates how many bytes a built-in function will take, before it does.
// What fails on its arguments needs no estimate.
type guard func(operands []*ast.Term) int

// guardOf returns the guard of a built-in function whose result can be far larger
// than its arguments, in one call; nil if it needs none.
func guardOf(name string) guard {
	switch name {
	case ast.NumbersRange.Name, ast.NumbersRangeStep.Name:
		return rangeBytes
	case ast.Sprintf.Name:
		return sprintfBytes
	case ast.Replace.Name:
		return replaceBytes
	case ast.RegexReplace.Name:
		return regexReplaceBytes
	case ast.ReplaceN.Name:
		return replaceNBytes
	case ast.BitsShiftLeft.Name:
		return shiftBytes
	case ast.Split.Name:
		return splitBytes
	case ast.FormatInt.Name, ast.Ceil.Name, ast.Floor.Name, ast.Round.Name:
		return numberBytes
	default:
		return nil
	}
}

// bounded turns a product of lengths into a number of bytes.
func bounded(n float64) int {
	const most = math.MaxInt32
	if !(n < most) {
		return most
	}
	return max(int(n), 0)
}

func text(term *ast.Term) (string, bool) {
	s, ok := term.Value.(ast.String)
	return string(s), ok
}

func number(term *ast.Term) (float64, bool) {
	n, ok := term.Value.(ast.Number)
	if !ok {
		return 0, false
	}
	f, ok := n.Float64()
	if !ok {
		return math.Inf(1), true
	}
	return f, true
}

func rangeBytes(operands []*ast.Term) int {
	from, ok1 := number(operands[0])
	to, ok2 := number(operands[1])
	if !ok1 || !ok2 {
		return 0
	}
	step := 1.0
	if len(operands) > 2 {
		if s, ok := number(operands[2]); ok && s >= 1 {
			step = s
		}
	}
	return bounded(math.Abs(to-from) / step * termBytes)
}

// sprintfBytes reads the widths and precisions in a format, which say how long
// the result is at least. One that comes as an argument ("*") counts as well.
func sprintfBytes(operands []*ast.Term) int {
	format, ok := text(operands[0])
	if !ok {
		return 0
	}
	total, n := 0.0, 0.0
	inVerb, star := false, false
	for _, c := range []byte(format) {
		switch {
		case c == '%':
			inVerb, n = !inVerb, 0
		case !inVerb:
		case c >= '0' && c <= '9':
			n = n*10 + float64(c-'0')
		case c == '*':
			star = true
		case c == '.', c == '+', c == '-', c == '#', c == ' ', c == '[', c == ']':
			total, n = total+n, 0
		default:
			inVerb = false
			total, n = total+n, 0
		}
	}
	args, ok := operands[1].Value.(*ast.Array)
	if ok {
		for i := range args.Len() {
			if f, isNumber := number(args.Elem(i)); isNumber {
				total += float64(numberBytes([]*ast.Term{args.Elem(i)}))
				if star {
					total += math.Abs(f)
				}
			}
		}
	}
	return bounded(total)
}

// replaceBytes is for replace(text, old, new).
func replaceBytes(operands []*ast.Term) int {
	s, ok1 := text(operands[0])
	old, ok2 := text(operands[1])
	with, ok3 := text(operands[2])
	if !ok1 || !ok2 || !ok3 {
		return 0
	}
	return bounded(float64(len(s)) + float64(strings.Count(s, old))*float64(len(with)))
}

// regexReplaceBytes is for regex.replace(text, pattern, new), where each byte of
// the text can be a match, and each "$" of new the whole of it.
func regexReplaceBytes(operands []*ast.Term) int {
	s, ok1 := text(operands[0])
	with, ok2 := text(operands[2])
	if !ok1 || !ok2 {
		return 0
	}
	dollars := 0
	for _, c := range []byte(with) {
		if c == '$' {
			dollars++
		}
	}
	return bounded(float64(len(s)+1)*float64(len(with)) + float64(len(s))*float64(dollars))
}

// replaceNBytes is for strings.replace_n(patterns, text).
func replaceNBytes(operands []*ast.Term) int {
	s, ok1 := text(operands[1])
	patterns, ok2 := operands[0].Value.(ast.Object)
	if !ok1 || !ok2 {
		return 0
	}
	longest := 0
	patterns.Foreach(func(_, v *ast.Term) {
		if with, ok := text(v); ok {
			longest = max(longest, len(with))
		}
	})
	return bounded(float64(len(s)+1) * float64(longest))
}

// shiftBytes is for bits.lsh(number, bits).
func shiftBytes(operands []*ast.Term) int {
	by, ok := number(operands[1])
	if !ok || by < 0 {
		return 0
	}
	// The result is printed in decimal, which costs more than its bits.
	return bounded(by)
}

// splitBytes is for split(text, separator).
func splitBytes(operands []*ast.Term) int {
	s, ok1 := text(operands[0])
	sep, ok2 := text(operands[1])
	if !ok1 || !ok2 {
		return 0
	}
	return bounded(float64(len(s)) / float64(max(len(sep), 1)) * termBytes)
}

// numberBytes is how long a number is if it is written without an exponent.
func numberBytes(operands []*ast.Term) int {
	n, ok := operands[0].Value.(ast.Number)
	if !ok {
		return 0
	}
	for i := range len(n) {
		if n[i] == 'e' || n[i] == 'E' {
			exponent, ok := util.Atoi(string(n[i+1:]))
			if !ok {
				return bounded(math.Inf(1))
			}
			return bounded(math.Abs(float64(exponent)))
		}
	}
	return 0
}
