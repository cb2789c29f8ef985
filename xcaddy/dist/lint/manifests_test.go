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

package lint

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The recipes of Homebrew, winget and the AUR name archives of the release, by
// address and by sum, and files within them.

// archive is the release's file that an address names; its sum has to be sum.
func archive(t *testing.T, url, sum string) string {
	t.Helper()
	file := filepath.Join(releases(t), path.Base(url))
	content := sha256.Sum256([]byte(read(t, file)))
	if got := hex.EncodeToString(content[:]); !strings.EqualFold(got, sum) {
		t.Errorf("%s has the sum %s, not %s", file, got, sum)
	}
	if !strings.HasPrefix(url, "https://github.com/caddymail/mailgateway/releases/download/v") {
		t.Errorf("the address is %s", url)
	}
	return file
}

// cask answers Homebrew's words and prints what was said; of what stands in a
// block for another system, too.
const cask = `
class Cask
  def version(v = nil) = v ? @version = v : @version
  %i[on_macos on_linux on_intel on_arm livecheck postflight].each { |name| define_method(name) { |&block| instance_eval(&block) if name != :postflight } }
  %i[url sha256 rename name desc homepage binary skip].each { |name| define_method(name) { |*args| puts [name, *args].join("\t") } }
end
def cask(token, &block) = Cask.new.tap { |c| puts "token\t#{token}"; c.instance_eval(&block) }
load ARGV[0]
`

func TestHomebrewCask(t *testing.T) {
	t.Parallel()
	file := filepath.Join(releases(t), "homebrew/Casks/mailgateway.rb")
	succeed(t, nil, "ruby", "-wc", file)
	var url, sum, from string
	said := make(map[string]int)
	for line := range strings.Lines(succeed(t, nil, "ruby", "-we", cask, file)) {
		words := strings.Split(strings.TrimSpace(line), "\t")
		said[words[0]]++
		switch words[0] {
		case "token":
			if words[1] != "mailgateway" {
				t.Errorf("the cask is named %s", words[1])
			}
		case "url":
			url = words[1]
		case "sha256":
			sum = words[1]
		case "rename":
			from = words[1]
			if words[2] != "mailgateway" {
				t.Errorf("%s becomes %s", from, words[2])
			}
			if list := succeed(t, nil, "tar", "-tzf", archive(t, url, sum)); !slices.Contains(strings.Split(list, "\n"), from) {
				t.Errorf("the archive has no %s:\n%s", from, list)
			}
		case "binary":
			if words[1] != "mailgateway" {
				t.Errorf("the binary is %s", words[1])
			}
		}
	}
	if said["token"] != 1 || said["url"] == 0 || said["rename"] != said["url"] || said["sha256"] != said["url"] || said["binary"] != 1 || said["desc"] != 1 || said["homepage"] != 1 {
		t.Errorf("it says %v", said)
	}
}

func TestWinget(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(releases(t), "winget/manifests/c/Caddymail/Mailgateway/0.0.1")
	type manifest struct {
		PackageIdentifier, PackageVersion, ManifestType string
		DefaultLocale, PackageLocale                    string
		Publisher, PackageName, License                 string
		ShortDescription                                string
		InstallerType                                   string
		Installers                                      []struct {
			Architecture, NestedInstallerType string
			InstallerUrl, InstallerSha256     string
			NestedInstallerFiles              []struct{ RelativeFilePath, PortableCommandAlias string }
		}
	}
	load := func(name string) (m manifest) {
		if err := yaml.Unmarshal([]byte(read(t, filepath.Join(dir, "Caddymail.Mailgateway"+name+".yaml"))), &m); err != nil {
			t.Fatal(err)
		}
		if m.PackageIdentifier != "Caddymail.Mailgateway" || m.PackageVersion != "0.0.1" {
			t.Errorf("manifest %q is of %s %s", name, m.PackageIdentifier, m.PackageVersion)
		}
		return m
	}
	if m := load(""); m.ManifestType != "version" || m.DefaultLocale != "en-US" {
		t.Errorf("%+v", m)
	}
	// What winget demands of a default locale.
	if m := load(".locale.en-US"); m.ManifestType != "defaultLocale" || m.PackageLocale != "en-US" || m.Publisher == "" || m.PackageName == "" || m.License == "" || m.ShortDescription == "" {
		t.Errorf("%+v", m)
	}
	m := load(".installer")
	if m.ManifestType != "installer" || m.InstallerType != "zip" || len(m.Installers) == 0 {
		t.Errorf("%+v", m)
	}
	for _, installer := range m.Installers {
		if installer.NestedInstallerType != "portable" || len(installer.NestedInstallerFiles) != 1 {
			t.Fatalf("%+v", installer)
		}
		nested := installer.NestedInstallerFiles[0]
		z, err := zip.OpenReader(archive(t, installer.InstallerUrl, installer.InstallerSha256))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(nested.RelativeFilePath, `\`, "/")
		if !slices.ContainsFunc(z.File, func(f *zip.File) bool { return f.Name == want }) || nested.PortableCommandAlias != "mailgateway" {
			t.Errorf("the archive has no %s, or the command is not mailgateway: %+v", want, nested)
		}
		z.Close()
	}
}

// TestAUR makes the package with Arch Linux's own makepkg; only the archive's address is
// not asked.
func TestAUR(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("makepkg.conf of this Debian is for x86_64")
	}
	// An unprivileged user has to reach it, as makepkg demands.
	dir, err := os.MkdirTemp("", "mailgateway-aur")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	recipe := read(t, filepath.Join(releases(t), "aur/mailgateway-bin.pkgbuild"))
	for name, content := range map[string]string{
		"PKGBUILD":                            recipe,
		"mailgateway-bin_0.0.1_x86_64.tar.gz": read(t, filepath.Join(releases(t), "mailgateway_0.0.1_linux_amd64.tar.gz")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = "65534"
	succeed(t, nil, "chown", "-R", nobody, dir)
	makepkg := func(args ...string) string {
		args = append([]string{"--reuid=" + nobody, "--clear-groups", "env", "-i", "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "PACMAN=true", "makepkg"}, args...)
		cmd := exec.Command("setpriv", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("makepkg: %v\n%s", err, out)
		}
		return string(out)
	}
	// What the AUR shows is what the recipe says, in whatever order.
	fields := func(text string) (list []string) {
		for line := range strings.Lines(text) {
			// GoReleaser leaves out the name that the file has beside the recipe.
			if line = strings.TrimSpace(strings.Replace(line, "mailgateway-bin_0.0.1_x86_64.tar.gz::", "", 1)); line != "" {
				list = append(list, line)
			}
		}
		slices.Sort(list)
		return list
	}
	want, got := fields(makepkg("--printsrcinfo")), fields(read(t, filepath.Join(releases(t), "aur/mailgateway-bin.srcinfo")))
	if !slices.Equal(got, want) {
		t.Errorf(".SRCINFO says\n%s\nthe recipe\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	makepkg("--nodeps")
	if got := succeed(t, nil, filepath.Join(dir, "pkg/mailgateway-bin/usr/bin/mailgateway"), "version"); !strings.HasPrefix(got, "mailgateway-0.0.1 ") {
		t.Errorf("the package's binary says %s", got)
	}
	if got := succeed(t, nil, "tar", "-tzf", filepath.Join(dir, "mailgateway-bin-0.0.1-1-x86_64.pkg.tar.gz")); !strings.Contains(got, "\nusr/bin/mailgateway\n") {
		t.Errorf("the package has\n%s", got)
	}
}
