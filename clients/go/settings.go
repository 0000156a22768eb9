package footage

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	defaultTimeout  = 30 * time.Second
	defaultPatience = 120 * time.Second

	// Pages of a thousand segments are larger than the 4 MiB that gRPC allows by default.
	maxMessageBytes = 64 << 20
)

// Option changes how a [Client] reaches the server, or how long it has patience.
type Option func(*settings)

// WithToken sends a token with each call, as `authorization: Bearer`, for the proxy before the server.
func WithToken(token string) Option {
	return func(s *settings) { s.token = token }
}

// WithTLS uses TLS with this configuration; nil trusts what the machine trusts, as an https:// address does.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) {
		s.useTLS = true
		s.tls = config
	}
}

// WithTimeout sets the longest that a call with a single answer may take, beyond the wait of its request; 30 s unless set.
// A context with a deadline of its own has its own way. Streams have no such limit.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// WithPatience sets how long a job or a download outlasts a server that is away; 120 s unless set.
func WithPatience(patience time.Duration) Option {
	return func(s *settings) { s.patience = patience }
}

// WithDialOptions adds options of gRPC, such as interceptors or a dialer. They come last, and win.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.extra = append(s.extra, options...) }
}

// settings are what all calls of a client have in common.
type settings struct {
	target   string
	useTLS   bool
	tls      *tls.Config
	token    string
	timeout  time.Duration
	patience time.Duration
	extra    []grpc.DialOption
}

func newSettings(address string, options []Option) (settings, error) {
	s := settings{timeout: defaultTimeout, patience: defaultPatience}
	var err error
	if s.target, s.useTLS, err = readAddress(address); err != nil {
		return settings{}, err
	}
	for _, option := range options {
		option(&s)
	}
	if s.timeout <= 0 {
		return settings{}, badArgument("timeout", fmt.Sprintf("%s is no time to wait", s.timeout))
	}
	if s.patience <= 0 {
		return settings{}, badArgument("patience", fmt.Sprintf("%s is no time to wait", s.patience))
	}
	return s, nil
}

// readAddress returns host:port and whether the address asks for TLS.
func readAddress(address string) (string, bool, error) {
	scheme, target, found := strings.Cut(address, "://")
	if !found {
		scheme, target = "http", address
	}
	if scheme != "http" && scheme != "https" {
		return "", false, badArgument("address", fmt.Sprintf("an address begins with http:// or https:// or has no scheme, not %s://", scheme))
	}
	target = strings.TrimSuffix(target, "/")
	host, port, err := net.SplitHostPort(target)
	if err != nil && scheme == "https" {
		host, port, err = net.SplitHostPort(target + ":443")
	}
	if err != nil || host == "" || port == "" || strings.Contains(target, "/") {
		return "", false, badArgument("address", fmt.Sprintf("%q is not host:port", address))
	}
	return net.JoinHostPort(host, port), scheme == "https", nil
}

func (s settings) dialOptions() []grpc.DialOption {
	transport := insecure.NewCredentials()
	if s.useTLS {
		transport = credentials.NewTLS(s.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		// A connection that is dead without having been closed ends its streams.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithUnaryInterceptor(s.callOnce),
		grpc.WithStreamInterceptor(s.openStream),
	}
	if s.token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(s.token)))
	}
	return append(options, s.extra...)
}

// bearer puts a token on each call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false because the proxy that wants the token may be on the same machine.
func (b bearer) RequireTransportSecurity() bool { return false }
