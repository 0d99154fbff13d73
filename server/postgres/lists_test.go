package postgres_test

import (
	"cmp"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func ref[T any](v T) *T { return &v }

func only[T any](list []T, keep func(T) bool) []T {
	var kept []T
	for _, v := range list {
		if keep(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

// sortNewest sorts as lists are: newest first, the later id where two are of
// the same age.
func sortNewest[T any](list []T, by func(T) (time.Time, string)) {
	slices.SortFunc(list, func(a, b T) int {
		at, aID := by(a)
		bt, bID := by(b)
		return cmp.Or(bt.Compare(at), cmp.Compare(bID, aID))
	})
}

// checkPages reads a list in pages of several sizes and wants the same each
// time.
func checkPages[T any](t *testing.T, want []T, list func(engine.Page) ([]T, int, error)) {
	t.Helper()
	for _, limit := range []int{1, 3, max(len(want), 1), 1000} {
		var got []T
		for offset := 0; offset <= len(want)+limit; offset += limit {
			page, total, err := list(engine.Page{Limit: limit, Offset: offset})
			if err != nil {
				t.Fatal(err)
			}
			if total != len(want) || len(page) > limit {
				t.Errorf("limit %d, offset %d: %d of %d, want a total of %d", limit, offset, len(page), total, len(want))
			}
			got = append(got, page...)
		}
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("pages of %d: got\n%+v, want\n%+v", limit, got, want)
		}
	}
	for _, none := range []engine.Page{{}, {Limit: -1, Offset: -1}} {
		if page, total, err := list(none); err != nil || len(page) != 0 || total != len(want) {
			t.Errorf("page %+v: got %d of %d, %v", none, len(page), total, err)
		}
	}
}
