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

//go:build unix

package transfer

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/presence"
)

// TestGatewayRuns holds that a storage that a living process uses is not copied, on
// neither side, and that a dead one's is.
func TestGatewayRuns(t *testing.T) {
	if dir := os.Getenv("TRANSFER_GATEWAY"); dir != "" {
		release, err := presence.Enter(&certmagic.FileStorage{Path: dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		fmt.Println("runs")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	both := []*certmagic.FileStorage{fileStorage(t), fileStorage(t)}
	for i, side := range []string{"the source: ", "the target: "} {
		child := exec.Command(os.Args[0], "-test.run=^TestGatewayRuns$") //nolint:gosec // this test
		child.Env = append(os.Environ(), "TRANSFER_GATEWAY="+both[i].Path)
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("runs\n"))); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%sa gateway runs on this storage, process %d on ", side, child.Process.Pid)
		if err := Ready(t.Context(), both[0], both[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = child.Wait()
		if err := Ready(t.Context(), both[0], both[1]); err != nil {
			t.Errorf("when it is gone: %v", err)
		}
	}
}
