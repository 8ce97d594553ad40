// Package interop tests netconn against servers that others wrote: Redis, PostgreSQL and
// Exim. The script setup installs them; a test whose server is missing is skipped, and says
// which.
package interop
