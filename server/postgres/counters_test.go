package postgres_test

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/enginetest"
	"github.com/twyn/twyn/engine/quota"
)

func TestCountersConform(t *testing.T) {
	t.Parallel()
	enginetest.TestStore(t, func(t *testing.T) quota.Store {
		t.Helper()
		s, _ := open(t)
		return s
	})
}

func newRecords(n int) []quota.Record {
	records := make([]quota.Record, n)
	for i := range records {
		records[i] = quota.Record{
			ID: quota.CounterID{
				TenantID: engine.PlatformTenantID, Subject: fmt.Sprintf("key_%d", i), Name: `na"me,{}\`,
				Algorithm: quota.FixedWindow, Window: time.Hour,
			},
			State: []byte{0, byte(i), 0xff}, ExpiresAt: start.Add(time.Duration(i) * time.Second),
		}
	}
	return records
}

func ids(records []quota.Record) []quota.CounterID {
	list := make([]quota.CounterID, len(records))
	for i := range records {
		list[i] = records[i].ID
	}
	return list
}

func sortRecords(records []quota.Record) []quota.Record {
	slices.SortFunc(records, func(a, b quota.Record) int { return cmp.Compare(fmt.Sprint(a.ID), fmt.Sprint(b.ID)) })
	return records
}

func TestCounters(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	records := sortRecords(newRecords(100))
	load := func(want []quota.Record, ids []quota.CounterID) {
		t.Helper()
		got := must[[]quota.Record](t)(s.LoadCounters(t.Context(), ids))
		if len(got)+len(want) > 0 && !reflect.DeepEqual(sortRecords(got), want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	load(nil, nil)
	load(nil, ids(records))
	for _, some := range [][]quota.Record{nil, records[:60], records} {
		if err := s.SaveCounters(t.Context(), some); err != nil {
			t.Fatal(err)
		}
		load(some, ids(records))
	}
	load(records[3:5], ids(records[3:5]))
	for i := range records {
		records[i].State, records[i].ExpiresAt = []byte{}, start.Add(time.Hour)
	}
	if err := s.SaveCounters(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	load(records, ids(records))
}

func TestEachPartOfACounterIDCounts(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	one := newRecords(1)[0]
	records := []quota.Record{one}
	for i, change := range []func(*quota.CounterID){
		func(id *quota.CounterID) { id.TenantID = "ten_other" },
		func(id *quota.CounterID) { id.Subject = "" },
		func(id *quota.CounterID) { id.Name = "Name" },
		func(id *quota.CounterID) { id.Algorithm = quota.SlidingWindow },
		func(id *quota.CounterID) { id.Window = time.Nanosecond },
	} {
		other := one
		change(&other.ID)
		other.State = []byte{byte(i)}
		records = append(records, other)
	}
	if err := s.SaveCounters(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	for _, want := range records {
		got := must[[]quota.Record](t)(s.LoadCounters(t.Context(), []quota.CounterID{want.ID}))
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestCountersExpireNoSoonerThanTold(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	record := newRecords(1)[0]
	for _, rest := range []time.Duration{0, 1, 499, 500, 999} {
		record.ExpiresAt = start.Add(rest)
		if err := s.SaveCounters(t.Context(), []quota.Record{record}); err != nil {
			t.Fatal(err)
		}
		got := must[[]quota.Record](t)(s.LoadCounters(t.Context(), []quota.CounterID{record.ID}))[0].ExpiresAt
		if early := got.Before(record.ExpiresAt); early || got.Sub(record.ExpiresAt) >= time.Microsecond {
			t.Errorf("%v became %v", record.ExpiresAt, got)
		}
	}
}

func TestSaveCountersIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	records := newRecords(10)
	records[9].ID.Window = 0
	if err := s.SaveCounters(t.Context(), records); err == nil {
		t.Fatal("a window of 0 was taken")
	}
	if got := must[[]quota.Record](t)(s.LoadCounters(t.Context(), ids(records))); len(got) != 0 {
		t.Errorf("%d of a refused batch are there", len(got))
	}
}

func TestConcurrentBatchesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	records, usage := newRecords(200), make([]engine.Usage, 20)
	for i := range usage {
		key := newKey(tenant.ID)
		if err := s.CreateKey(t.Context(), key, newDigest()); err != nil {
			t.Fatal(err)
		}
		usage[i] = engine.Usage{TenantID: tenant.ID, KeyID: key.ID, Count: 1, LastUsedAt: start}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		mine, used := slices.Clone(records), slices.Clone(usage)
		if i%2 == 0 {
			slices.Reverse(mine)
			slices.Reverse(used)
		}
		wg.Go(func() {
			for range 10 {
				if err := errors.Join(s.SaveCounters(t.Context(), mine), s.AddUsage(t.Context(), used)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, u := range usage {
		if got := must[engine.Key](t)(s.Key(t.Context(), tenant.ID, u.KeyID)).UsageCount; got != 80 {
			t.Errorf("got a usage of %d, want 80", got)
		}
	}
}
