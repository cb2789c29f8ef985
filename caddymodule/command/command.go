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

package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/command/health"
	"github.com/caddymail/mailgateway/caddymodule/command/output"
	"github.com/caddymail/mailgateway/caddymodule/command/service"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/printable"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "smtp",
		Usage: "COMMAND",
		Short: "Manages the SMTP gateway's accounts, and tests it",
		Long: `
Manages the accounts of a running gateway through Caddy's admin API, gives
consent for their mailboxes, tests them, and prints what clients need.

The admin API is found as other commands find it: at --address, else where the
configuration file given by --config says, else at localhost:2019.

Its manual is docs/ in https://github.com/caddymail/mailgateway.`,
		CobraFunc: Setup,
	})
}

// Setup makes a command `caddy smtp`.
func Setup(cmd *cobra.Command) {
	cmd.SilenceUsage = true
	// What providers and clients said is in much of it.
	cmd.SetOut(printable.Writer{W: parentOut{cmd}})
	cmd.PersistentFlags().String("address", "", "Address of the admin API")
	cmd.PersistentFlags().StringP("config", "c", "", "Configuration file to find the admin API's address in")
	cmd.PersistentFlags().StringP("adapter", "a", "", "Name of the configuration file's adapter")
	cmd.PersistentFlags().Bool("json", false, "Print JSON")
	cmd.AddCommand(
		setupCommand(),
		accountCommand(),
		loginCommand(),
		inviteCommand(),
		testCommand(),
		doctorCommand(),
		health.Command(),
		sessionCommand(),
		banCommand(),
		refusalsCommand(),
		snippetCommand(),
		messagesCommand(),
		spoolCommand(),
		nodeCommand(),
		storageCommand(),
		sandboxCommand(),
		service.Command(),
	)
	usage.Check(cmd)
	// Caddy's own template ends with a page that has none of these commands, and
	// calls the binary caddy whatever it is called.
	cmd.SetHelpTemplate(new(cobra.Command).HelpTemplate() + "\nManual: https://github.com/caddymail/mailgateway/tree/main/docs\n")
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		usage.NameBinary(c)
		new(cobra.Command).HelpFunc()(c, args)
	})
}

// parentOut is where the output of a command's parent goes, once it has one.
type parentOut struct{ cmd *cobra.Command }

// Write implements io.Writer.
func (p parentOut) Write(b []byte) (int, error) {
	if p.cmd.HasParent() {
		return p.cmd.Parent().OutOrStdout().Write(b)
	}
	return os.Stdout.Write(b)
}

// adminClient talks to a running gateway.
type adminClient struct {
	address string
}

func newAdminClient(cmd *cobra.Command) (*adminClient, error) {
	address, _ := cmd.Flags().GetString("address")
	config, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	address, err := usage.FindAdmin(address, config, adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin API's address: %w", err)
	}
	return &adminClient{address: address}, nil
}

// remoteError is an error that the admin API answered with.
type remoteError struct {
	Status      int                  `json:"-"`
	Text        string               `json:"error"`
	Field       string               `json:"field"`
	Explanation *explain.Explanation `json:"explanation"`
}

func (e *remoteError) Error() string {
	text := e.Text
	if e.Field != "" {
		text = fmt.Sprintf("field '%s': %s", e.Field, e.Text)
	}
	if e.Explanation != nil {
		text += "\n" + e.Explanation.Cause + "\n" + e.Explanation.Remedy
	}
	return string(printable.Escape([]byte(text)))
}

// caddycmd makes one text of an error answer.
var remoteErrorText = regexp.MustCompile(`(?s)HTTP (\d{3}): (.*)$`)

// askAgain is how often a question is asked whose connection ends without an
// answer: at a reload Caddy's admin server makes way for another, and ends what it
// has just accepted.
const askAgain = 3

// request sends a request. The caller closes the answer's body.
func (c *adminClient) request(method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	header = header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	header.Set(admin.UserHeader, output.User())
	resp, err := caddycmd.AdminAPIRequest(c.address, method, path, header, body)
	if method == http.MethodGet && body == nil {
		for tries := 1; err != nil && tries < askAgain && !remoteErrorText.MatchString(err.Error()); tries++ {
			resp, err = caddycmd.AdminAPIRequest(c.address, method, path, header, body)
		}
	}
	if err == nil {
		return resp, nil
	}
	if m := remoteErrorText.FindStringSubmatch(err.Error()); m != nil {
		status, _ := strconv.Atoi(m[1])
		re := &remoteError{Status: status}
		if json.Unmarshal([]byte(m[2]), re) != nil || re.Text == "" {
			re.Text = fmt.Sprintf("what answers at %s is not the admin API of a gateway, or of an older one: %s", c.address, strings.TrimSpace(m[2]))
		}
		return nil, re
	}
	return nil, fmt.Errorf("is the gateway running? %w", err)
}

// call sends a value as JSON, if there is one, and decodes the answer into
// result, if there is one.
func (c *adminClient) call(method, path string, header http.Header, value, result any) error {
	var body io.Reader
	if value != nil {
		encoded, err := json.Marshal(value)
		if err != nil {
			return err
		}
		body = strings.NewReader(string(encoded))
	}
	resp, err := c.request(method, path, header, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if result == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(result)
}

// How every command prints.
var (
	wantsJSON = output.WantsJSON
	printJSON = output.JSON
	table     = output.Table
	printDone = output.Done
	forEach   = output.ForEach
)
