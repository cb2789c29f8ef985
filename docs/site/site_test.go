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

package site

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// names are the pages that the site must have, but for the first one, which is
// docs/README.md.
func names(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../*.md")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d pages (%v)", len(files), err)
	}
	all := []string{"changelog", "helm", "interop"}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".md"); name != "README" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// TestNavigation holds that each page is in the navigation, once.
func TestNavigation(t *testing.T) {
	config, err := os.ReadFile("hugo.toml")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, list := range regexp.MustCompile(`(?m)^  pages = \[(.*)\]$`).FindAllStringSubmatch(string(config), -1) {
		for _, name := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(list[1], -1) {
			found = append(found, name[1])
		}
	}
	slices.Sort(found)
	if want := names(t); !slices.Equal(found, want) {
		t.Errorf("in the navigation: %v\nthere are: %v", found, want)
	}
}

// built is the site that MAILGATEWAY_SITE names, by the files' paths in it.
func built(t *testing.T) (string, map[string]*page) {
	t.Helper()
	dir := os.Getenv("MAILGATEWAY_SITE")
	if dir == "" {
		t.Skip("MAILGATEWAY_SITE names no site; `bash .ci/run site` builds and checks one")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	pages := make(map[string]*page)
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".html" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		root, err := html.Parse(f)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		pages[filepath.ToSlash(name)] = newPage(root)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, pages
}

// page is what others lead to, and where it leads.
type page struct {
	ids   map[string]int
	links []string // of <a>
	loads []string // what a browser fetches by itself
	title string
	text  int // bytes of it in the article
}

func newPage(root *html.Node) *page {
	p := &page{ids: make(map[string]int)}
	for n := range root.Descendants() {
		switch {
		case n.Type == html.TextNode && inside(n, "article"):
			p.text += len(n.Data)
		case n.Type != html.ElementNode:
			continue
		case n.Data == "title" && n.FirstChild != nil:
			p.title = n.FirstChild.Data
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "id":
				p.ids[a.Val]++
			case a.Key == "href" && n.Data == "a":
				p.links = append(p.links, a.Val)
			case a.Key == "href" || a.Key == "src" || a.Key == "srcset" || a.Key == "data-index":
				p.loads = append(p.loads, a.Val)
			}
		}
	}
	return p
}

func inside(n *html.Node, element string) bool {
	for p := range n.Ancestors() {
		if p.Data == element {
			return true
		}
	}
	return false
}

const repository = "https://github.com/caddymail/mailgateway/blob/main/"

// TestSite holds that each page is there, and that no link of any leads
// nowhere: neither within the site nor into the repository.
func TestSite(t *testing.T) {
	dir, pages := built(t)
	for _, name := range append(names(t), "index") {
		if p := pages[name+".html"]; p == nil || p.text < 500 || p.title == "" {
			t.Errorf("there is no page %s, or nothing on it: %+v", name, p)
		}
	}
	if want := len(names(t)) + 1; len(pages) != want {
		t.Errorf("%d pages, want %d", len(pages), want)
	}
	within := 0
	for name, p := range pages {
		for id, n := range p.ids {
			if n > 1 {
				t.Errorf("%s: %d things have the id %s", name, n, id)
			}
		}
		for _, to := range p.links {
			u, err := url.Parse(to)
			switch {
			case err != nil:
				t.Errorf("%s: %v", name, err)
			case strings.HasPrefix(to, repository):
				file, _, _ := strings.Cut(strings.TrimPrefix(to, repository), "#")
				if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
					t.Errorf("%s leads into the repository, to %v", name, err)
				}
			case u.IsAbs():
				// Another site, which a reader may follow.
			default:
				within++
				leads(t, dir, pages, name, u)
			}
		}
	}
	if within < 1000 {
		t.Errorf("only %d links within the site", within)
	}
}

// leads reports a link within the site that leads nowhere.
func leads(t *testing.T, dir string, pages map[string]*page, from string, to *url.URL) {
	t.Helper()
	at := to.ResolveReference(&url.URL{}).Path
	if at == "" {
		at = from
	} else {
		at = filepath.ToSlash(filepath.Join(filepath.Dir(from), at))
	}
	p := pages[at]
	if p == nil {
		if _, err := os.Stat(filepath.Join(dir, at)); err != nil || strings.HasSuffix(to.Path, "/") {
			t.Errorf("%s leads to %s, which is not there", from, to)
		}
		return
	}
	if to.Fragment != "" && p.ids[to.Fragment] == 0 {
		t.Errorf("%s leads to %s, and %s has no such part", from, to, at)
	}
}

// TestNothingForeignIsLoaded holds that a browser that opens a page asks
// the site alone.
func TestNothingForeignIsLoaded(t *testing.T) {
	dir, pages := built(t)
	for name, p := range pages {
		if len(p.loads) < 3 {
			t.Errorf("%s loads only %q", name, p.loads)
		}
		for _, to := range p.loads {
			u, err := url.Parse(to)
			if err != nil || u.Host != "" || u.IsAbs() && u.Scheme != "data" {
				t.Errorf("%s loads %s (%v)", name, to, err)
				continue
			}
			if u.Scheme == "" {
				leads(t, dir, pages, name, u)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "s*.[cj]s*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("style and script: %v (%v)", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`//\w+\.|@import|url\(|fetch\(|XMLHttpRequest|innerHTML`).Find(content); found != nil {
			t.Errorf("%s has %q", filepath.Base(file), found)
		}
	}
}

// TestSearchIndex holds that each part that can be found is there.
func TestSearchIndex(t *testing.T) {
	dir, pages := built(t)
	files, err := filepath.Glob(filepath.Join(dir, "index.*.js"))
	if err != nil || len(files) != 1 {
		t.Fatalf("index %v (%v)", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(content), "window.manual = ")
	if !ok {
		t.Fatalf("no index: %.200s", content)
	}
	var parts []struct{ Page, Part, URL, Text string }
	if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimSpace(text), ";")), &parts); err != nil {
		t.Fatal(err)
	}
	if len(parts) < 200 {
		t.Errorf("only %d parts", len(parts))
	}
	for _, part := range parts {
		u, err := url.Parse(part.URL)
		if err != nil || u.Path == "" {
			t.Errorf("%q leads to %q (%v)", part.Part, part.URL, err)
			continue
		}
		leads(t, dir, pages, "index.html", u)
	}
}

// TestSearch has a browser search, from a disk and on a page that is not the
// first.
func TestSearch(t *testing.T) {
	dir, _ := built(t)
	for query, want := range map[string]string{
		"rotated refresh token": "<h1>Found</h1>",
		"spool printer":         `spool.html#summary">Spool: Summary</a><p>`, // of the results: the navigation has "Spool" anyway
		"xyzzy":                 "<h1>Nothing found</h1>",
	} {
		where := url.URL{Scheme: "file", Path: filepath.Join(dir, "limits.html"), RawQuery: url.Values{"q": {query}}.Encode()}
		cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), "--virtual-time-budget=20000", "--dump-dom", where.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), want) {
			_, results, _ := strings.Cut(string(out), `id="results"`)
			t.Errorf("%s: no %q in %.1500s", query, want, results)
		}
	}
}
