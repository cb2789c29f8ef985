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

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/system"
	"github.com/caddymail/mailgateway/internal/freeport"
)

// postfixMain is the configuration of a relay as it would be written for
// this job: connections reused over TLS, as many deliveries at a time as
// there are clients.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[2]s
maillog_file = %[1]s/data/log
maillog_file_prefixes = %[1]s
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.bench.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
local_header_rewrite_clients =
smtpd_tls_security_level = none
smtpd_client_connection_count_limit = 0
default_process_limit = 200
default_destination_concurrency_limit = 50
initial_destination_concurrency = 20
in_flow_delay = 0
relayhost = [localhost]:%[3]s
smtp_host_lookup = native
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:%[1]s/conf/sasl_passwd
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_wrappermode = yes
smtp_tls_connection_reuse = yes
smtp_tls_CAfile = %[1]s/conf/ca.pem
smtp_tls_secure_cert_match = hostname
`

const postfixMaster = `%[1]s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix starts a Postfix of our own that relays to the sink. It runs
// as root only, since its processes change their user.
func (e *env) startPostfix(ctx context.Context) (gw *gateway, stop func() error, err error) {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return nil, nil, err
	}
	daemons, err := exec.CommandContext(ctx, "postconf", "-d", "-h", "daemon_directory").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("postconf: %w", err)
	}
	// Its processes need to pass through the directory, which others of
	// this run must not.
	dir, err := os.MkdirTemp("", "mailgateway-bench-postfix-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		return nil, nil, err
	}
	for _, d := range []string{"conf", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil { //nolint:gosec // as above
			return nil, nil, err
		}
	}
	uid, _ := strconv.Atoi(owner.Uid)
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		return nil, nil, err
	}
	ca, err := os.ReadFile(e.pki.ca)
	if err != nil {
		return nil, nil, err
	}
	addr, err := freeport.Loopback()
	if err != nil {
		return nil, nil, err
	}
	_, port, err := net.SplitHostPort(e.at.Implicit)
	if err != nil {
		return nil, nil, err
	}
	conf := filepath.Join(dir, "conf")
	for name, content := range map[string]string{
		"main.cf":     fmt.Sprintf(postfixMain, dir, strings.TrimSpace(string(daemons)), port),
		"master.cf":   fmt.Sprintf(postfixMaster, addr),
		"ca.pem":      string(ca),
		"sasl_passwd": fmt.Sprintf("[localhost]:%s %s:%s\n", port, message.AccountName(0), message.AccountPassword(0)),
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(content), 0o644); err != nil { //nolint:gosec // made up
			return nil, nil, err
		}
	}
	p, err := e.start("postfix", false, nil, "postfix", "-c", conf, "start-fg")
	if err != nil {
		return nil, nil, err
	}
	stop = func() error {
		// start-fg is a script: its daemon is told by its own command.
		_ = exec.Command("postfix", "-c", conf, "stop").Run()
		return errors.Join(e.stop(p), remove())
	}
	gw = &gateway{proc: p, smtp: addr}
	if err := gw.ready(ctx, gatewaySetup{}); err != nil {
		_ = stop()
		return nil, nil, err
	}
	return gw, stop, nil
}

// runPostfixRow measures a relay with a queue: the rate is what arrives at
// the sink until the last message has, the latency only that of the client.
func (e *env) runPostfixRow(ctx context.Context, l loadSetup) (f figure, err error) {
	gw, stop, err := e.startPostfix(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	l.Addr, l.TLS, l.NoAuth = gw.smtp, "off", true
	l.Messages, l.Warmup, l.Window = 2000, 0, 0
	before, begin := system.TreeCPU(gw.pid()), time.Now()
	res, st, err := e.runLoad(ctx, l, gw)
	if err != nil {
		return f, err
	}
	for limit := time.Now().Add(time.Minute); st.Messages < int64(res.Accepted) && time.Now().Before(limit); {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return f, ctx.Err()
		}
		if st, err = e.stats(ctx, false); err != nil {
			return f, err
		}
	}
	took := time.Since(begin)
	cpu := system.TreeCPU(gw.pid()) - before
	if st, err = e.stats(ctx, true); err != nil {
		return f, err
	}
	f = newFigure(res, st)
	f.Rate = float64(st.Messages) / took.Seconds()
	f.CPU = cpu / (float64(st.Messages) / 1000)
	return f, nil
}
