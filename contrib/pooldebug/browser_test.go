package pooldebug

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/S4AK4N/pool/wsconn"
)

// patience bounds every wait for something that must happen. The machine may be busy.
const patience = 2 * time.Minute

// A browser is a Chromium without a window. Its protocol is JSON over a WebSocket, of which wsconn is a client.
type browser struct {
	t    *testing.T
	conn *wsconn.Conn
	next int

	mu     sync.Mutex
	events []event
}

type event struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// newBrowser starts a browser with one page. It skips the test if there is none here.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium here: contrib/pooldebug/setup installs it")
	}
	profile := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-breakpad", "--no-default-browser-check", "--hide-scrollbars",
		"--user-data-dir="+profile, "--remote-debugging-port=0", "about:blank")
	inOwnGroup(cmd)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})

	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if _, url, ok := strings.Cut(lines.Text(), "DevTools listening on "); ok {
				found <- strings.TrimSpace(url)
			}
		}
		close(found)
		io.Copy(io.Discard, stderr)
	}()
	var url string
	select {
	case url = <-found:
	case <-time.After(patience):
	}
	if url == "" {
		t.Fatalf("%s has not told where its protocol is", path)
	}

	b := &browser{t: t}
	// The page has a WebSocket of its own, whose path has its id.
	host := strings.TrimPrefix(strings.SplitAfterN(url, "/devtools", 2)[0], "ws://")
	host, _, _ = strings.Cut(host, "/")
	all := b.dial(url)
	var targets struct {
		TargetInfos []struct{ TargetID, Type string }
	}
	b.conn = all
	b.call("Target.getTargets", nil, &targets)
	var page string
	for _, target := range targets.TargetInfos {
		if target.Type == "page" {
			page = target.TargetID
		}
	}
	if page == "" {
		t.Fatal("the browser has no page")
	}
	b.conn = b.dial("ws://" + host + "/devtools/page/" + page)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

func (b *browser) dial(url string) *wsconn.Conn {
	b.t.Helper()
	factory, err := wsconn.NewFactory(url, &wsconn.Options{
		ReadLimit: 64 << 20, // of a screenshot
		IsReply: func(request, message wsconn.Message) bool {
			var q, a struct{ ID int }
			return json.Unmarshal(request.Data, &q) == nil && json.Unmarshal(message.Data, &a) == nil && q.ID == a.ID
		},
		OnUnsolicited: func(_ *wsconn.Conn, m wsconn.Message) (*wsconn.Message, error) {
			var e event
			if err := json.Unmarshal(m.Data, &e); err != nil {
				return nil, err
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
			return nil, nil
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := factory.Open(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { factory.Close(conn, errLost) })
	return conn
}

// call calls a method of the protocol. result may be nil.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.next++
	request, err := json.Marshal(map[string]any{"id": b.next, "method": method, "params": params})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, reply, err := b.conn.Exchange(ctx, websocket.MessageText, request)
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		b.t.Fatal(err)
	}
	if answer.Error != nil {
		b.t.Fatalf("%s: %s", method, answer.Error.Message)
	}
	if result != nil {
		if err := json.Unmarshal(answer.Result, result); err != nil {
			b.t.Fatalf("%s: %v in %s", method, err, answer.Result)
		}
	}
}

// eval evaluates JavaScript in the page, waits for a promise, and returns what comes out.
func eval[T any](b *browser, script string, args ...any) (v T) {
	b.t.Helper()
	var answer struct {
		Result struct{ Value T }
		Except *struct {
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": fmt.Sprintf(script, args...), "awaitPromise": true, "returnByValue": true}, &answer)
	if answer.Except != nil {
		b.t.Fatalf("%s\nin %s", answer.Except.Exception.Description, script)
	}
	return answer.Result.Value
}

// open opens a page of some width, and waits until it shows figures.
func (b *browser) open(url string, width int, dark bool) {
	b.t.Helper()
	b.look(width, dark)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.updates(2)
}

// look sets width and colors.
func (b *browser) look(width int, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// updates waits until the page has taken in n reports, since it was loaded or since now, and has drawn them.
func (b *browser) updates(n int) {
	b.t.Helper()
	for { // the document may be replaced while it waits
		if eval[bool](b, `new Promise((done) => {
			const n = () => Number(document.body?.dataset.updates || 0);
			if (!document.body) { requestAnimationFrame(() => done(false)); return; }
			const began = n();
			const look = () => { if (n() >= began + %d) { seen.disconnect(); requestAnimationFrame(() => requestAnimationFrame(() => done(true))); } };
			const seen = new MutationObserver(look);
			seen.observe(document.body, { attributes: true });
			look();
		})`, n) {
			return
		}
	}
}

// key presses a key.
func (b *browser) key(key string, code int, text string) {
	b.t.Helper()
	down := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code}
	if text != "" {
		down["text"] = text
	}
	b.call("Input.dispatchKeyEvent", down, nil)
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
}

// shoot has the whole page drawn. If POOLDEBUG_PICTURES names a folder, it keeps a picture of each 1,200 pixels there.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("POOLDEBUG_PICTURES")
	size := eval[[2]float64](b, `[document.documentElement.clientWidth, document.documentElement.scrollHeight]`)
	for from, i := 0.0, 0; from < size[1] && (i == 0 || dir != ""); from, i = from+1200, i+1 {
		var shot struct{ Data string }
		b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true, "format": "png",
			"clip": map[string]float64{"x": 0, "y": from, "width": size[0], "height": min(1200, size[1]-from), "scale": 1}}, &shot)
		picture, err := base64.StdEncoding.DecodeString(shot.Data)
		if err != nil || len(picture) < 1000 {
			b.t.Fatalf("a picture of %d bytes: %v", len(picture), err)
		}
		if dir != "" {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, i)), picture, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// complaints returns what the browser has logged: violations of the policy, exceptions, files that are missing.
func (b *browser) complaints() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		switch e.Method {
		case "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
			all = append(all, string(e.Params))
		}
	}
	return all
}

// requests returns what the pages have asked for.
func (b *browser) requests() (urls []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		var p struct{ Request struct{ URL string } }
		if e.Method == "Network.requestWillBeSent" && json.Unmarshal(e.Params, &p) == nil {
			urls = append(urls, p.Request.URL)
		}
	}
	return urls
}
