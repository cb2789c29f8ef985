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
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/command/usage"
	"github.com/caddymail/mailgateway/setup"
)

func setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Goes from nothing to a first test mail: asks, says what to do, checks it",
		Long: `
Asks whose mailboxes send, says what to do at the provider with the values filled
in, writes a configuration, and checks each step by really asking: the servers, the
application's secret, the mailbox owner's consent, the login, a test mail.

What was answered is kept in the directory, so that an interrupted run goes on where
it was; secrets stand in files of their own, and are shown nowhere. Without a
terminal each answer is a flag. A file that is there is not replaced without asking.

With --browser it is the same in a browser on this machine: the gateway runs with its
console alone, whose pages ask, check, write the configuration and load it.`,
		Example: `  caddy smtp setup
  caddy smtp setup --browser
  caddy smtp setup --provider microsoft --way app --tenant contoso.onmicrosoft.com \
    --client-id 00000000-0000-0000-0000-000000000000 --object-id 11111111-1111-1111-1111-111111111111 \
    --client-secret-file secret.txt --mailbox scanner@contoso.com --hostname mail.contoso.com
  caddy smtp setup --transport graph`,
		Args: cobra.NoArgs,
		RunE: runSetup,
	}
	f := cmd.Flags()
	for _, q := range setup.All() {
		usage := q.Text
		if q.Choices != nil {
			usage += ": " + strings.Join(q.Choices, ", ")
		}
		f.String(q.Name, "", usage)
	}
	f.String("dir", ".", "Directory of the configuration and its secrets")
	f.String("client-secret-file", "", "File with the application's client secret")
	f.Bool("replace", false, "Replace a Caddyfile that is there without asking")
	f.Bool("no-test", false, "Stop after the configuration is written")
	f.Bool("browser", false, "Run the gateway with its console alone, and go on there")
	f.String("console", setup.ConsoleURL, "Address of the console on this machine, with --browser")
	usage.Needs(cmd, "console", "browser")
	return usage.NoJSON(cmd)
}

// dialog is one run of setup.
type dialog struct {
	cmd     *cobra.Command
	in      *bufio.Reader
	dir     string
	tty     bool
	asked   []setup.Question // and answered, in this run
	answers setup.Answers
}

func runSetup(cmd *cobra.Command, _ []string) error {
	d := &dialog{cmd: cmd, in: bufio.NewReader(cmd.InOrStdin())}
	if f, ok := cmd.InOrStdin().(*os.File); ok {
		d.tty = term.IsTerminal(int(f.Fd())) //nolint:gosec // a descriptor fits
	}
	dir, _ := cmd.Flags().GetString("dir")
	var err error
	if d.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	if strings.ContainsAny(d.dir, "`\n{}") {
		return fmt.Errorf("--dir: %q cannot stand in a Caddyfile", d.dir)
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if browser, _ := cmd.Flags().GetBool("browser"); browser {
		return d.browser()
	}
	if err := d.ask(); err != nil {
		return err
	}
	if err := d.reach(); err != nil {
		return err
	}
	if err := d.config(); err != nil {
		return err
	}
	if skip, _ := cmd.Flags().GetBool("no-test"); skip {
		return d.end()
	}
	if err := d.try(); err != nil {
		return err
	}
	return d.end()
}

func (d *dialog) say(format string, args ...any) { fmt.Fprintf(d.cmd.OutOrStdout(), format, args...) }

// ask collects the answers: of an earlier run, of flags, and of the operator.
func (d *dialog) ask() error {
	a, found, err := setup.Load(d.dir)
	if err != nil {
		return fmt.Errorf("the answers of the last run: %w", err)
	}
	if found {
		d.say("The answers of the last run in %s are taken up; flags change them.\n", d.dir)
	}
	d.answers = a
	if err := d.flags(); err != nil {
		return err
	}
	if err := setup.CarrySecret(d.dir, &a, &d.answers); err != nil {
		return err
	}
	shown := 0
	for {
		q, ok := setup.Missing(&d.answers)
		if !ok {
			break
		}
		// What there is to do is said once it is known, and again at the end.
		if q.Name == "tenant" || q.Name == "key-file" || q.Name == "client-id" && shown == 0 || q.Name == "dial" {
			shown = d.tasks(shown, 1)
		}
		err := d.question(q)
		if errors.Is(err, setup.ErrBack) {
			d.asked = setup.Back(d.asked, &d.answers, d.say)
			continue
		}
		if err != nil {
			return err
		}
		if len(q.Choices) != 1 {
			d.asked = append(d.asked, q)
		}
		if err := setup.Save(d.dir, &d.answers); err != nil {
			return err
		}
		if q.Name == "client-id" && d.tty {
			// It is shown once, beside the ID: now is when it is at hand.
			if err := d.secret(); err != nil {
				return err
			}
		}
	}
	if err := setup.Save(d.dir, &d.answers); err != nil {
		return err
	}
	if err := d.secret(); err != nil {
		return err
	}
	d.tasks(shown, len(setup.Tasks(&d.answers)))
	return nil
}

// flags takes the answers that flags give. Each is checked as its question is,
// which depends on the provider and the way: these come first.
func (d *dialog) flags() error {
	seen := make(map[string]bool)
	for again := true; again; {
		again = false
		for _, q := range append(setup.Questions(&d.answers), setup.Options()...) {
			text, _ := d.cmd.Flags().GetString(q.Name)
			if text == "" || seen[q.Name] {
				continue
			}
			if err := q.Set(&d.answers, text); err != nil {
				return fmt.Errorf("--%s: %w", q.Name, err)
			}
			seen[q.Name], again = true, true
			break // the next questions may be others
		}
	}
	for _, q := range setup.All() {
		if text, _ := d.cmd.Flags().GetString(q.Name); text != "" && !seen[q.Name] {
			return fmt.Errorf("--%s: not asked for with this --provider and --way", q.Name)
		}
	}
	return nil
}

// question puts one question until it is answered.
func (d *dialog) question(q setup.Question) error {
	if len(q.Choices) == 1 {
		return q.Set(&d.answers, q.Choices[0])
	}
	if !d.tty {
		if q.Default != "" {
			if err := q.Set(&d.answers, ""); err == nil {
				return nil
			}
		}
		return fmt.Errorf("--%s: an answer is needed, and there is no terminal to ask on: %s", q.Name, q.Text)
	}
	return q.Ask(&d.answers, d.say, func() (string, error) { return d.in.ReadString('\n') })
}

// tasks shows the steps at the provider from one up to another, and waits.
func (d *dialog) tasks(from, to int) (shown int) {
	list := setup.Tasks(&d.answers)
	to = min(to, len(list))
	for i := from; i < to; i++ {
		t := list[i]
		d.say("\n== At the provider, %d of %d: %s\n", i+1, len(list), t.Title)
		if t.Page != "" {
			d.say("%s\n", t.Page)
		}
		for n, s := range t.Steps {
			d.say("  %d. %s\n", n+1, s)
		}
		if len(t.Commands) > 0 {
			d.say("In %s:\n\n    %s\n\n", t.Shell, strings.Join(t.Commands, "\n    "))
		}
		if t.Note != "" {
			d.say("Note: %s\n", t.Note)
		}
		d.pause()
	}
	return max(from, to)
}

func (d *dialog) pause() {
	if d.tty {
		d.say("Enter when that is done. ")
		_, _ = d.in.ReadString('\n')
	}
}

// secret has the client secret kept. It is read without an echo.
func (d *dialog) secret() error {
	if !d.answers.NeedsSecret() {
		return nil
	}
	if file, _ := d.cmd.Flags().GetString("client-secret-file"); file != "" {
		text, err := os.ReadFile(file) //nolint:gosec // the operator's own
		if err != nil {
			return fmt.Errorf("--client-secret-file: %w", err)
		}
		if err := setup.SaveSecret(d.dir, &d.answers, string(text)); err != nil {
			return fmt.Errorf("--client-secret-file: %w", err)
		}
		return nil
	}
	if setup.HasSecret(d.dir, &d.answers) {
		return nil
	}
	if !d.tty {
		return errors.New("--client-secret-file: the client secret is needed, and there is no terminal to ask on")
	}
	for {
		d.say("The application's client secret (not shown): ")
		text, err := term.ReadPassword(int(d.cmd.InOrStdin().(*os.File).Fd())) //nolint:gosec // a descriptor fits
		d.say("\n")
		if err != nil {
			return fmt.Errorf("reading the secret: %w", err)
		}
		if err := setup.SaveSecret(d.dir, &d.answers, string(text)); err != nil {
			d.say("%v\n", err)
			continue
		}
		return nil
	}
}

// errFailedChecks ends a run whose reasons were said already.
var errFailedChecks = errors.New("a check failed: mend that, then run the same command again; the answers are kept")

// reach asks whether the provider is there, and knows the application.
func (d *dialog) reach() error {
	d.say("\n== Checks\n")
	var failed error
	secret := ""
	if d.answers.NeedsSecret() {
		var err error
		if secret, err = setup.Secret(d.dir, &d.answers); err != nil {
			return err
		}
	}
	for _, r := range setup.Check(d.cmd.Context(), &d.answers, secret) {
		if r.Err == nil {
			d.say("ok      %s: %s\n", r.Name, r.Said)
			continue
		}
		d.say("FAILED  %s: %v\n        %s\n", r.Name, r.Err, r.Remedy)
		failed = errFailedChecks
	}
	return failed
}

// config writes the configuration, with a password made up for the first device. An
// unchanged one keeps the password that it has.
func (d *dialog) config() error {
	there, err := setup.Config(d.dir)
	if err != nil {
		return err
	}
	if hash := setup.PasswordHash(there); hash != "" && there == setup.Caddyfile(&d.answers, d.dir, hash) {
		d.say("ok      %s: as these answers make it, with the password of the run that wrote it\n", filepath.Join(d.dir, setup.ConfigName))
		return nil
	}
	replace, _ := d.cmd.Flags().GetBool("replace")
	if there != "" && !replace {
		if !d.tty {
			return fmt.Errorf("%s is there and is another: --replace replaces it, --dir takes another directory", filepath.Join(d.dir, setup.ConfigName))
		}
		d.say("%s is there and is another. Replace it? (yes, no) [no]: ", filepath.Join(d.dir, setup.ConfigName))
		line, err := d.in.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != "yes" {
			return errors.New("nothing was replaced")
		}
		replace = true
	}
	plain, hash := password.Generate()
	if err := setup.SaveConfig(d.dir, setup.Caddyfile(&d.answers, d.dir, hash), replace); err != nil {
		return err
	}
	d.say("ok      wrote %s\n\nThe device logs in as %s with this password, which is shown this once:\n\n    %s\n\n",
		filepath.Join(d.dir, setup.ConfigName), d.answers.Mailbox, plain)
	return nil
}

func (d *dialog) end() error {
	d.say(`
== Start it

    %s run --config %s

In the device: %s, and the password above.

As a service, with certificates and ports below 1024: docs/setup.md. Give each
further device its own account: %s smtp account add NAME --upstream %s
`, os.Args[0], filepath.Join(d.dir, setup.ConfigName), setup.Device(&d.answers), os.Args[0], d.answers.Upstream())
	return nil
}
