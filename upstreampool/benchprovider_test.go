// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package upstreampool

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"testing"
)

// newBenchProvider is a sink that costs as little as possible.
func newBenchProvider(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go sink(nc)
		}
	}()
	return ln.Addr().String()
}

func sink(nc net.Conn) {
	defer nc.Close()
	br := bufio.NewReaderSize(nc, 64<<10)
	bw := bufio.NewWriter(nc)
	_, _ = bw.WriteString("220 sink\r\n")
	for {
		if br.Buffered() == 0 && bw.Flush() != nil {
			return
		}
		line, err := br.ReadSlice('\n')
		if err != nil {
			return
		}
		switch line[0] {
		case 'E':
			_, _ = bw.WriteString("250-sink\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n")
		case 'B':
			f := bytes.Fields(line)
			n, _ := strconv.Atoi(string(f[1]))
			if _, err := io.CopyN(io.Discard, br, int64(n)); err != nil {
				return
			}
			_, _ = bw.WriteString("250 2.0.0 queued as 4f2a\r\n")
		case 'Q':
			_, _ = bw.WriteString("221 2.0.0 bye\r\n")
			_ = bw.Flush()
			return
		default:
			_, _ = bw.WriteString("250 2.1.0 ok\r\n")
		}
	}
}
