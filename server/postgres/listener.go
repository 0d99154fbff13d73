package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/lib/pq"
)

const (
	// revokedChannel is where the database's triggers tell of changes.
	revokedChannel = "twyn_revoked"
	minReconnect   = 50 * time.Millisecond
	maxReconnect   = 5 * time.Second
)

// Listen calls onKey and onTenant for each key and tenant whose state has
// changed, whoever changed it, until ctx ends; then it returns nil. It
// connects again whenever the connection is lost. What was told meanwhile is
// lost too, so that after every connection, the first one included, it calls
// onGap: everything known may be old. The functions are called one at a time.
func (s *Store) Listen(
	ctx context.Context, onKey func(tenantID, keyID string), onTenant func(tenantID string), onGap func(),
) error {
	return s.listen(ctx, revokedChannel, func(n *pq.Notification) { dispatch(n, onKey, onTenant, onGap) })
}

// listen calls onEach for each notification on a channel until ctx ends; then it
// returns nil. For every connection, the first one included, it calls it with
// nil.
func (s *Store) listen(ctx context.Context, channel string, onEach func(*pq.Notification)) error {
	l := pq.NewDialListener(listenerDialer{}, s.listener, minReconnect, maxReconnect, nil)
	closeListener := func() {
		_ = l.Close() // Closed twice is closed.
	}
	defer context.AfterFunc(ctx, closeListener)()
	// Nobody reads any more then, and the listener must not hang on that.
	defer func() {
		closeListener()
		go func() {
			for range l.Notify { // Only to be rid of them.
			}
		}()
	}()
	if err := l.Listen(channel); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("listening on %s: %w", channel, explain(ctx, err))
	}
	onEach(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case n, open := <-l.Notify:
			if !open {
				return nil
			}
			onEach(n)
		}
	}
}

// dispatch tells one notification. What it does not understand may be
// anything, so it is everything.
func dispatch(n *pq.Notification, onKey func(tenantID, keyID string), onTenant func(tenantID string), onGap func()) {
	if n == nil { // connected again
		onGap()
		return
	}
	switch parts := strings.Split(n.Extra, ":"); {
	case len(parts) == 3 && parts[0] == "key":
		onKey(parts[1], parts[2])
	case len(parts) == 2 && parts[0] == "tenant":
		onTenant(parts[1])
	default:
		onGap()
	}
}

// listenerDSN is the database's URL for a connection that listens.
func listenerDSN(dsn, role, applicationName string) (string, error) {
	settings := [][2]string{{"role", role}, {"application_name", applicationName}, {"connect_timeout", "5"}}
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
		for _, setting := range settings {
			dsn += " " + setting[0] + "='" + escape.Replace(setting[1]) + "'"
		}
		return strings.TrimSpace(dsn), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errURL
	}
	query := u.Query()
	for _, setting := range settings {
		query.Set(setting[0], setting[1])
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// listenerDialer makes connections that find out by themselves that the other
// end is gone: a listener never sends, so nothing else would.
type listenerDialer struct{}

func (listenerDialer) dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
}

// Dial connects.
func (d listenerDialer) Dial(network, address string) (net.Conn, error) {
	return d.dialer(0).Dial(network, address)
}

// DialTimeout connects within a time.
func (d listenerDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	return d.dialer(timeout).Dial(network, address)
}

// DialContext connects until ctx ends.
func (d listenerDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dialer(0).DialContext(ctx, network, address)
}

var (
	_ pq.Dialer        = listenerDialer{}
	_ pq.DialerContext = listenerDialer{}
)
