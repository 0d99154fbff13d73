package main_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// proxy stands between a server and its database and can be cut.
type proxy struct {
	listener net.Listener

	mu          sync.Mutex
	network     string // of the database
	address     string
	connections map[net.Conn]bool
	down        bool
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, connections: make(map[net.Conn]bool)}
	go p.serve()
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
	})
	return p
}

// route returns a URL that leads to the same database through the proxy.
func (p *proxy) route(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal("the database's URL cannot be read")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network, p.address = "tcp", u.Host
	query := u.Query()
	if dir := query.Get("host"); dir != "" { // a directory with a socket in it
		port := query.Get("port")
		if port == "" {
			port = "5432"
		}
		p.network, p.address = "unix", filepath.Join(dir, ".s.PGSQL."+port)
		query.Del("host")
		query.Del("port")
	}
	if query.Get("sslmode") == "" {
		query.Set("sslmode", "disable")
	}
	u.Host, u.RawQuery = p.listener.Addr().String(), query.Encode()
	return u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.carry(client)
	}
}

func (p *proxy) carry(client net.Conn) {
	defer func() { _ = client.Close() }()
	p.mu.Lock()
	network, address, down := p.network, p.address, p.down
	p.mu.Unlock()
	if down {
		return
	}
	database, err := new(net.Dialer).DialContext(context.Background(), network, address)
	if err != nil {
		return
	}
	defer func() { _ = database.Close() }()
	if !p.keep(client, database) {
		return
	}
	go func() {
		_, _ = io.Copy(database, client)
		_ = database.Close()
	}()
	_, _ = io.Copy(client, database)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, client)
	delete(p.connections, database)
}

// keep remembers connections for cut, unless that has come first.
func (p *proxy) keep(connections ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range connections {
		p.connections[c] = true
	}
	return !p.down
}

// cut ends every connection and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.connections {
		_ = c.Close()
	}
	clear(p.connections)
}

// mend lets connections through again.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
