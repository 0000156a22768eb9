package footage

import "google.golang.org/grpc"

// Conn lets the conformance test call methods by their names, with everything that the client does for a call.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }
