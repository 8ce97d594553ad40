package pooldebug

import (
	"regexp"
	"strings"
)

// url is a URL with what follows it up to a space or a quote; its scheme and host come first.
var url = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#"'<>@]*@)?([^\s/?#"'<>@]*)([^\s"'<>]*)`)

// host is what may be the host of a URL: else it is the beginning of a user and a password with a slash in it, for example.
var host = regexp.MustCompile(`^([^:]*|\[[0-9A-Za-z:.%]*\]?)(:[0-9]*)?$`)

// bare returns what may be told of a URL: its scheme and host, and the punctuation that the text around it has put behind it.
func bare(text string) string {
	const marks = ":,;.)]}"
	body := strings.TrimRight(text, marks)
	m := url.FindStringSubmatch(body)
	switch {
	case m == nil:
		return text
	case !host.MatchString(m[2]) || strings.Contains(m[3], "@"):
		m[2] = "…"
	}
	return m[1] + m[2] + text[len(body):]
}

// What else may be secret in a text, and what is left of it.
var secrets = []struct {
	pattern *regexp.Regexp
	left    string
}{
	// User and password, of a name for a database that is no URL.
	{regexp.MustCompile(`[^\s/@"'<>=]+:[^\s@"'<>]*@`), "…@"},
	// What follows a scheme of authorization.
	{regexp.MustCompile(`(?i)\b(bearer|basic|digest)(\s+)[A-Za-z0-9._~+/=-]{6,}`), "$1$2…"},
	// What follows a name, in any notation.
	{regexp.MustCompile(`(?i)\b([a-z0-9_.-]*(?:passw(?:or)?d|pwd|secret|token|api[_-]?key|access[_-]?key|credential|cookie|authorization|signature)s?)("?'?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)`), "$1$2…"},
	// What looks like a key of an API by itself.
	{regexp.MustCompile(`\b(sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{8,}`), "$1-…"},
	// What package net/url takes for the port of a URL that it cannot read.
	{regexp.MustCompile(`invalid port "[^"]*"`), "invalid port …"},
	// A query without a URL.
	{regexp.MustCompile(`\?[A-Za-z0-9_.-]+=[^\s"'<>]*[^\s"'<>:,;.]`), "?…"},
}

// redacted returns text without what looks like a secret, and not more than 1,000 characters of it.
func redacted(text string) string {
	text = url.ReplaceAllStringFunc(text, bare)
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.left)
	}
	if runes := []rune(text); len(runes) > 1000 {
		text = string(runes[:1000]) + "…"
	}
	return text
}
