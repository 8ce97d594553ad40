// Package interop tests wsconn against servers and proxies that others wrote.
// The script setup installs what they need; a test whose program is missing is
// skipped, and says which.
package interop
