package decisionlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// A segment is the magic and then frames. A frame is the length of its payload
// and the payload's CRC-32C, both in four little-endian bytes, and the payload:
// a version and the fields of a record, strings behind their length, numbers as
// varints.
const (
	magic        = "twyndec\x01"
	frameHead    = 8
	version      = 1
	maxPayload   = 1 << 20 // far above maxInput and what can surround it
	maxListItems = 1 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn means that bytes are not a frame: the end of a segment that was being
// written, or damage.
var errTorn = errors.New("torn record")

// appendFrame appends the frame of a record.
func appendFrame(b []byte, r *engine.DecisionRecord) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = appendRecord(b, r)
	payload := b[start+frameHead:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// readFrame reads the first frame of b and returns what follows it.
func readFrame(b []byte) (record engine.DecisionRecord, rest []byte, err error) {
	if len(b) < frameHead {
		return record, nil, errTorn
	}
	size := binary.LittleEndian.Uint32(b)
	if size > maxPayload || int(size) > len(b)-frameHead {
		return record, nil, errTorn
	}
	payload := b[frameHead : frameHead+int(size)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return record, nil, errTorn
	}
	d := decoder{b: payload}
	d.record(&record)
	if d.failed || len(d.b) > 0 {
		return record, nil, errTorn
	}
	if _, ok := engine.ParseDecisionID(record.ID); !ok {
		return record, nil, errTorn
	}
	return record, b[frameHead+int(size):], nil
}

func appendRecord(b []byte, r *engine.DecisionRecord) []byte {
	b = append(b, version)
	b = binary.AppendVarint(b, r.At.UnixMicro())
	b = binary.AppendVarint(b, int64(r.Duration))
	for _, s := range [...]string{
		r.ID, r.TenantID, r.KeyID, string(r.Environment), r.RequestID, r.Method, r.Route, r.Path, r.ResourceType,
		r.ResourceID, r.ResourceOwner, string(r.Effect), r.Revision, r.PluginDigest, r.Omitted,
	} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Reasons)))
	for i := range r.Reasons {
		b = appendString(appendString(b, r.Reasons[i].Code), r.Reasons[i].Message)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Limits)))
	for i := range r.Limits {
		v := &r.Limits[i]
		b = appendString(b, v.Name)
		admitted := int64(0)
		if v.Admitted {
			admitted = 1
		}
		for _, n := range [...]int64{v.Limit, int64(v.Window), admitted, v.Remaining, v.Reset.UnixMicro(), int64(v.RetryAfter)} {
			b = binary.AppendVarint(b, n)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.Masked)))
	for _, s := range r.Masked {
		b = appendString(b, s)
	}
	return appendString(b, string(r.Input))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder takes values off the front of b until one is missing.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) record(r *engine.DecisionRecord) {
	if len(d.b) == 0 || d.b[0] != version {
		d.failed = true
		return
	}
	d.b = d.b[1:]
	r.At = time.UnixMicro(d.varint()).UTC()
	r.Duration = time.Duration(d.varint())
	var environment, effect string
	for _, s := range [...]*string{
		&r.ID, &r.TenantID, &r.KeyID, &environment, &r.RequestID, &r.Method, &r.Route, &r.Path, &r.ResourceType,
		&r.ResourceID, &r.ResourceOwner, &effect, &r.Revision, &r.PluginDigest, &r.Omitted,
	} {
		*s = d.string()
	}
	r.Environment, r.Effect = engine.Environment(environment), engine.Effect(effect)
	for range d.count() {
		r.Reasons = append(r.Reasons, engine.Reason{Code: d.string(), Message: d.string()})
	}
	for range d.count() {
		v := quota.Verdict{Name: d.string(), Limit: d.varint(), Window: time.Duration(d.varint()), Admitted: d.varint() != 0}
		v.Remaining, v.Reset, v.RetryAfter = d.varint(), time.UnixMicro(d.varint()).UTC(), time.Duration(d.varint())
		r.Limits = append(r.Limits, v)
	}
	for range d.count() {
		r.Masked = append(r.Masked, d.string())
	}
	if input := d.string(); input != "" {
		r.Input = []byte(input)
	}
}

func (d *decoder) varint() int64 {
	n, used := binary.Varint(d.b)
	if used <= 0 {
		d.b, d.failed = nil, true
		return 0
	}
	d.b = d.b[used:]
	return n
}

// count is the length of a list, 0 if it cannot be right: an item has at least
// one byte.
func (d *decoder) count() int {
	n, used := binary.Uvarint(d.b)
	if used <= 0 || n > maxListItems || n > uint64(len(d.b)-used) {
		d.b, d.failed = nil, true
		return 0
	}
	d.b = d.b[used:]
	return int(n)
}

func (d *decoder) string() string {
	n, used := binary.Uvarint(d.b)
	if used <= 0 || n > uint64(len(d.b)-used) {
		d.b, d.failed = nil, true
		return ""
	}
	s := string(d.b[used : used+int(n)])
	d.b = d.b[used+int(n):]
	return s
}
