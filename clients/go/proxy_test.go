package footage_test

import (
	"net"
	"sync"
	"testing"
)

// cuttingProxy passes bytes on between a client and a server until it is told to cut, or has passed so many of the server's.
type cuttingProxy struct {
	listener net.Listener
	upstream string

	lock        sync.Mutex
	open        []net.Conn
	left        int64 // Bytes that pass before the next cut; below 1: no cut.
	connections int
}

func newProxy(t testing.TB, upstream string) *cuttingProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cuttingProxy{listener: listener, upstream: upstream}
	go p.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
	})
	return p
}

func (p *cuttingProxy) address() string { return p.listener.Addr().String() }

// cut ends every connection that is open now, in the middle of whatever it carries.
func (p *cuttingProxy) cut() {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, end := range p.open {
		_ = end.Close()
	}
	p.open = nil
}

// cutAfter cuts once, when so many further bytes of the server have passed.
func (p *cuttingProxy) cutAfter(bytes int64) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.left = bytes
}

// accepted returns how many connections were made.
func (p *cuttingProxy) accepted() int {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.connections
}

func (p *cuttingProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.lock.Lock()
		p.connections++
		p.open = append(p.open, client, server)
		p.lock.Unlock()
		go pass(client, server, func(int64) {})
		go pass(server, client, p.count)
	}
}

func pass(from, to net.Conn, count func(int64)) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if _, failed := to.Write(buffer[:n]); failed != nil {
			return
		}
		count(int64(n))
		if err != nil {
			return
		}
	}
}

func (p *cuttingProxy) count(bytes int64) {
	p.lock.Lock()
	spent := p.left > 0 && p.left <= bytes
	p.left -= bytes
	p.lock.Unlock()
	if spent {
		p.cut()
	}
}
