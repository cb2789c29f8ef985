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

package sandbox

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/sandbox/fault"
)

func (c *conn) event(nth int) fault.Event {
	ev := fault.Event{Nth: nth, Messages: c.messages}
	if c.box != nil {
		ev.Mailbox = c.box.Name
	}
	return ev
}

// fault lets happen what is to happen at a stage. A code other than zero is
// that of a reply that was given in place of the usual one; an error ends the
// connection.
func (c *conn) fault(stage string, nth int) (code int, err error) {
	f, ok := c.s.faults.Take(stage, c.event(nth))
	if !ok {
		return 0, nil
	}
	return c.act(f, stage)
}

// ready is the moment between transactions, where a provider may say 421 or
// be gone.
func (c *conn) ready() error {
	_, err := c.fault("ready", 0)
	return err
}

const longLine = 4 << 20

func (c *conn) act(f Fault, stage string) (code int, err error) {
	good := goodCode(stage)
	switch f.Action {
	case "reply":
		lines := strings.Split(f.Reply, "\n")
		for i, l := range lines {
			if i < len(lines)-1 && len(l) > 3 {
				l = l[:3] + "-" + l[4:]
			}
			c.reply(l)
		}
		code = int(f.Reply[0]-'0')*100 + int(f.Reply[1]-'0')*10 + int(f.Reply[2]-'0')
		if code == 421 {
			return code, errGraceful
		}
		return code, nil
	case "delay":
		if err := c.flush(); err != nil {
			return 0, err
		}
		if !c.s.sleep(time.Duration(f.Delay)) {
			return 0, errGone
		}
		return 0, nil
	case "garbage":
		c.out = append(c.out, "\x16\x00\xfe\xff garbage\x00\x07 not a reply\r\n"...)
		return 999, nil
	case "long_line":
		c.out = append(c.out, good...)
		c.out = append(c.out, ' ')
		c.out = append(c.out, bytes.Repeat([]byte("x"), longLine)...)
		c.out = append(c.out, "\r\n"...)
		err := c.flush()
		c.out = nil
		return atoi3(good), err
	case "endless_multiline":
		if err := c.flush(); err != nil {
			return 0, err
		}
		block := bytes.Repeat([]byte(good+"-and so on\r\n"), 512)
		for {
			if _, err := c.nc.Write(block); err != nil {
				return 0, errGone
			}
		}
	case "hang":
		if err := c.flush(); err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, c.br)
		return 0, errGone
	case "reset", "refuse":
		_ = c.flush()
		c.kill(true)
		return 0, errGone
	}
	return 0, errGraceful // close: a FIN, and no RST though input may be waiting
}

// goodCode is what a stage answers when all is well.
func goodCode(stage string) string {
	switch stage {
	case "connect", "banner", "starttls":
		return "220"
	case "auth":
		return "235"
	case "data":
		return "354"
	case "quit":
		return "221"
	}
	return "250"
}

func atoi3(s string) int { return int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0') }
