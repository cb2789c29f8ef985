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
	"os"
	"path/filepath"

	"github.com/caddymail/mailgateway/internal/freeport"
)

// peers are the programs that pass TCP through to the sink, TLS and all.
var peers = map[string]string{viaHAProxy: "haproxy", viaNginx: "nginx"}

const haproxyConf = `global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen sink
    bind %[1]s
    server sink %[2]s
`

const nginxConf = `include /etc/nginx/modules-enabled/*-stream.conf;
daemon off;
master_process off;
pid %[3]s/nginx.pid;
error_log %[3]s/nginx.log;
events { worker_connections 4000; }
stream {
    server {
        listen %[1]s reuseport;
        proxy_pass %[2]s;
    }
}
`

// startPeer starts one of the peers.
func (e *env) startPeer(ctx context.Context, program string) (*gateway, error) {
	addr, err := freeport.Loopback()
	if err != nil {
		return nil, err
	}
	conf, file := haproxyConf, filepath.Join(e.dir, program+".conf")
	args := []string{"-db", "-f", file}
	if program == "nginx" {
		conf, args = nginxConf, []string{"-c", file}
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, addr, e.at.Implicit, e.dir), 0o600); err != nil {
		return nil, err
	}
	p, err := e.start(program, false, nil, program, args...)
	if err != nil {
		return nil, err
	}
	gw := &gateway{proc: p, smtp: addr}
	if err := gw.ready(ctx, gatewaySetup{}); err != nil {
		return nil, errors.Join(err, e.stop(p))
	}
	return gw, nil
}
