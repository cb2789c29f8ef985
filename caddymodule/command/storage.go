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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/storage/transfer"
)

func storageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Moves what the gateway keeps",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	copying := &cobra.Command{
		Use:   "copy --from CONFIG --to CONFIG",
		Short: "Copies the storage of one configuration into that of another, and checks it",
		Long: `Copies every value of one storage into another, as from files to PostgreSQL, reads both again and compares them.
The storages are those of two configuration files; only the option storage in them matters. The gateway has to be stopped.
What the target has newer, or alone, is left as it is, and is an error at the end. A copy that was cut short is begun again.`,
		Args: cobra.NoArgs,
		RunE: copyStorage,
	}
	copying.Flags().String("from", "", "Configuration file of the storage to read")
	copying.Flags().String("to", "", "Configuration file of the storage to write to")
	copying.Flags().Bool("dry-run", false, "Compare, and write nothing")
	_ = copying.MarkFlagRequired("from")
	_ = copying.MarkFlagRequired("to")
	cmd.AddCommand(copying)
	return cmd
}

func copyStorage(cmd *cobra.Command, _ []string) error {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: cmd.Context()})
	defer cancel()
	adapter, _ := cmd.Flags().GetString("adapter")
	var both [2]certmagic.Storage
	var configs [2]string
	for i, flag := range []string{"from", "to"} {
		file, _ := cmd.Flags().GetString(flag)
		s, config, err := storageOf(ctx, file, adapter)
		if err != nil {
			return fmt.Errorf("flag --%s: %s: %w", flag, file, err)
		}
		both[i], configs[i] = s, config
	}
	if configs[0] == configs[1] {
		return errors.New("flags --from and --to: both files say the same storage")
	}
	dry, _ := cmd.Flags().GetBool("dry-run")
	if !dry {
		if err := transfer.Ready(ctx, both[0], both[1]); err != nil {
			return err
		}
	}
	o := transfer.Options{DryRun: dry, Progress: progress(cmd.ErrOrStderr(), dry)}
	report, err := transfer.Copy(context.WithoutCancel(ctx), both[0], both[1], o)
	if wantsJSON(cmd) {
		if perr := printJSON(cmd, report); perr != nil {
			return perr
		}
	} else {
		verb := "copied and read back"
		if dry {
			verb = "would be copied"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d values, %d bytes: %d %s, %d were there, %d are newer in the target; the target alone has %d\n",
			report.Keys, report.Bytes, report.Copied, verb, report.Same, len(report.Newer), len(report.Extra))
		for _, k := range report.Newer {
			fmt.Fprintf(cmd.OutOrStdout(), "newer, left as it is: %s\n", k)
		}
		for _, k := range report.Extra {
			fmt.Fprintf(cmd.OutOrStdout(), "in the target alone, left there: %s\n", k)
		}
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "SHA-256 of the source: %s\n", report.Digest)
		}
	}
	if err == nil && len(report.Newer) > 0 {
		err = fmt.Errorf("%d values of the target are newer than the source's, and were left as they are", len(report.Newer))
	}
	if n := ours(report.Extra); err == nil && n > 0 {
		err = fmt.Errorf("%d values of a gateway are in the target alone: accounts that were removed since would be back, and counts count twice; copy into a storage that is empty", n)
	}
	return err
}

// ours is how many of keys are not Caddy's.
func ours(keys []string) (n int) {
	for _, k := range keys {
		if strings.HasPrefix(k, "smtp/") {
			n++
		}
	}
	return n
}

// progress shows how far a copy is, where that takes long.
func progress(w io.Writer, dry bool) func(copied, compared, all int) {
	verb := "copied"
	if dry {
		verb = "compared"
	}
	next := time.Now().Add(every)
	return func(copied, compared, all int) {
		if time.Now().Before(next) {
			return
		}
		next = time.Now().Add(every)
		if compared == 0 {
			fmt.Fprintf(w, "%d of %d values %s\n", copied, all, verb)
		} else {
			fmt.Fprintf(w, "%d of %d values read back\n", compared, all)
		}
	}
}

// every is how often progress is shown.
const every = 5 * time.Second

// storageOf returns the storage of a configuration file, and what it says of it.
func storageOf(ctx caddy.Context, file, adapter string) (certmagic.Storage, string, error) {
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, "", err
	}
	var c struct {
		StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, "", err
	}
	if c.StorageRaw == nil {
		return caddy.DefaultStorage, "", nil
	}
	text := string(c.StorageRaw) // LoadModule clears it
	m, err := ctx.LoadModule(&c, "StorageRaw")
	if err != nil {
		return nil, "", err
	}
	converter, ok := m.(caddy.StorageConverter)
	if !ok {
		return nil, "", errors.New("storage: the module is no storage")
	}
	s, err := converter.CertMagicStorage()
	return s, text, err
}
