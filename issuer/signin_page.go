package issuer

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed templates static
var files embed.FS

// pages are the templates, each with the frame around it.
var pages = parsePages()

func parsePages() map[string]*template.Template {
	frame := template.Must(template.New("frame.html").Funcs(template.FuncMap{
		"when":  func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
		"agent": agentName,
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "templates/frame.html"))
	all := map[string]*template.Template{}
	list, err := files.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, f := range list {
		if name, ok := strings.CutSuffix(f.Name(), ".html"); ok && name != "frame" {
			all[name] = template.Must(template.Must(frame.Clone()).ParseFS(files, "templates/"+f.Name()))
		}
	}
	return all
}

// assets are the files that pages name, by path with a part that changes with the content.
var assets, assetNames = parseAssets()

type asset struct {
	kind string
	body []byte
}

func parseAssets() (byPath map[string]asset, names map[string]string) {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	byPath, names = map[string]asset{}, map[string]string{}
	list, err := files.ReadDir("static")
	if err != nil {
		panic(err)
	}
	for _, f := range list {
		b, err := files.ReadFile("static/" + f.Name())
		if err != nil {
			panic(err)
		}
		ext := path.Ext(f.Name())
		sum := sha256.Sum256(b)
		at := "/static/" + strings.TrimSuffix(f.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		byPath[at], names[f.Name()] = asset{kinds[ext], b}, at
	}
	return byPath, names
}

func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.Write(a.body) //nolint:errcheck // the browser went away: nobody to tell
}

// page is what a template is filled with.
type page struct {
	Title   string
	Problem string // what went wrong, in plain words
	Notice  string // what was done
	Next    string
	Wide    bool
	Refresh string // where to go on to, by itself
	Data    any

	// filled in by show
	Who    *session
	CSRF   string
	Tenant string
	Assets map[string]string

	target string // where the form's answer may redirect to, beyond ourselves
}

// show writes a page that nobody keeps, frames or adds to.
func (v *visit) show(status int, name string, p page) {
	if len(v.browser) < 40 {
		v.browser = random("", 32)
		setCookie(v.w, browserCookie, v.browser)
	}
	p.Who, p.CSRF, p.Assets = v.who, v.token(""), assetNames
	if t := v.s.Tenant.Name; t != "Ajar" {
		p.Tenant = t
	}
	v.write(status, name, p)
}

func (v *visit) write(status int, name string, p page) {
	var b bytes.Buffer
	if err := pages[name].ExecuteTemplate(&b, "frame.html", p); err != nil {
		v.s.log.ErrorContext(v.r.Context(), "page broken", "page", name, "corr", v.corr, "err", err)
		http.Error(v.w, "This page cannot be shown; the operator finds the cause in the log.", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not no-referrer: browsers would say "Origin: null" of our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=()")
	h.Set("Content-Security-Policy", strings.TrimSpace("default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; require-trusted-types-for 'script'; "+
		"frame-ancestors 'none'; base-uri 'none'; form-action 'self' "+p.target))
	v.w.WriteHeader(status)
	v.w.Write(b.Bytes()) //nolint:errcheck // the browser went away: nobody to tell
}

// errorPage tells a person what cannot go on, where no client can be told: status, and text in plain words.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, status int, text string) {
	v := s.visit(w, r)
	v.show(status, "error", page{Title: "That did not work", Data: sentence(text)})
}

// agentName is a browser's own description in the words of people.
func agentName(agent string) string {
	find := func(table []string) string {
		for i := 0; i < len(table); i += 2 {
			if strings.Contains(agent, table[i]) {
				return table[i+1]
			}
		}
		return ""
	}
	name := find([]string{"Firefox/", "Firefox", "Edg/", "Edge", "OPR/", "Opera", "Chrome/", "Chrome", "CriOS/", "Chrome", "FxiOS/", "Firefox", "Safari/", "Safari"})
	on := find([]string{"Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS X", "macOS", "CrOS", "ChromeOS", "Linux", "Linux"})
	switch {
	case name == "":
		return clip(agent, 60)
	case on == "":
		return name
	}
	return name + " on " + on
}

// sentence is text as a person reads it.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if strings.Trim(text[len(text)-1:], ".!?") != "" {
		text += "."
	}
	return text
}
