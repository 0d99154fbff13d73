package plan

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Data is what policies see as data, apart from their own rules. It never
// changes, and many goroutines may use it at the same time.
type Data struct {
	root  *ast.Term // what references start from
	whole *ast.Term // what data as a value is: all but data.system
}

// noData is Data without documents.
var noData = &Data{root: ast.InternedEmptyObject, whole: ast.InternedEmptyObject}

// NewData makes Data of documents as OPA's store takes them: what JSON decodes
// to, with numbers as json.Number. The documents must not change afterwards.
func NewData(documents map[string]any) (*Data, error) {
	value, err := ast.InterfaceToValue(documents)
	if err != nil {
		return nil, fmt.Errorf("reading the policies' data: %w", err)
	}
	object, ok := value.(ast.Object)
	if !ok {
		return noData, nil
	}
	d := &Data{root: ast.NewTerm(value), whole: ast.NewTerm(value)}
	if object.Get(ast.NewTerm(ast.SystemDocumentKey)) != nil {
		rest := ast.NewObject()
		object.Foreach(func(k, v *ast.Term) {
			if !ast.SystemDocumentKey.Equal(k.Value) {
				rest.Insert(k, v)
			}
		})
		d.whole = ast.NewTerm(rest)
	}
	return d, nil
}

// Eval evaluates the program for an input, nil for none, and data, nil for none.
// It returns the value of the entry point, or nil if that is undefined. The value
// shares memory with the input, the data and the program: it must not be changed.
//
// The errors are described at the package.
func (p *Program) Eval(ctx context.Context, input ast.Value, data *Data) (value ast.Value, err error) {
	m, _ := p.machines.Get().(*machine)
	defer func() {
		if r := recover(); r != nil {
			// The machine is in no known state and is not used again.
			value, err = nil, fmt.Errorf("%w: %v", ErrPanic, r)
			return
		}
		m.release()
		p.machines.Put(m)
	}()
	if data == nil {
		data = noData
	}
	m.reset(ctx, data)
	frame := m.push(p.query.locals)
	if input != nil {
		frame[0] = ast.NewTerm(input)
	}
	frame[1] = data.whole
	if _, ok := p.query.call(m, frame); !ok {
		return nil, m.err
	}
	if m.res == nil {
		return nil, nil
	}
	return m.res.Value, nil
}
