package pooldebug

import "regexp"

// What may be secret in a text, and what is left of it.
var secrets = []struct {
	pattern *regexp.Regexp
	left    string
}{
	// Of a URL: scheme and host.
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#"'<>@]*@)?([^\s/?#"'<>@]*)[^\s"'<>]*`), "$1$2"},
	// User and password, of a name for a database that is no URL.
	{regexp.MustCompile(`[^\s/@"'<>=]+:[^\s@"'<>]*@`), "…@"},
	// What follows a scheme of authorization.
	{regexp.MustCompile(`(?i)\b(bearer|basic|digest)(\s+)[A-Za-z0-9._~+/=-]{6,}`), "$1$2…"},
	// What follows a name, in any notation.
	{regexp.MustCompile(`(?i)\b([a-z0-9_.-]*(?:passw(?:or)?d|pwd|secret|token|api[_-]?key|access[_-]?key|credential|cookie|authorization|signature)s?)("?'?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)`), "$1$2…"},
	// What looks like a key of an API by itself.
	{regexp.MustCompile(`\b(sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{8,}`), "$1-…"},
	// A query without a URL.
	{regexp.MustCompile(`\?[A-Za-z0-9_.-]+=[^\s"'<>]*`), "?…"},
}

// redacted returns text without what looks like a secret, and not more than 1,000 characters of it.
func redacted(text string) string {
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.left)
	}
	if runes := []rune(text); len(runes) > 1000 {
		text = string(runes[:1000]) + "…"
	}
	return text
}
