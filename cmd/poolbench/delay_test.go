package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const testRTT = 100 * time.Millisecond

// delayed returns both ends of a connection that was just accepted, in a bubble:
// the client's, which is as fast as the loopback interface, and the server's.
func delayed(t *testing.T) (client, server net.Conn) {
	client, accepted := net.Pipe()
	server = delay(accepted, testRTT)
	t.Cleanup(func() {
		client.Close()
		server.Close()
		time.Sleep(testRTT + flushTime) // by when its goroutines have ended
	})
	return client, server
}

// at checks how long after start it is now.
func at(t *testing.T, start time.Time, want time.Duration, what string) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("%s after %v, want %v", what, got, want)
	}
}

func read(t *testing.T, conn net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConnectingUpgradingAndEachMessageCostOneRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		client, server := delayed(t)
		go io.Copy(server, server)
		for i, message := range []string{"upgrade", "first", "second"} {
			if _, err := io.WriteString(client, message); err != nil {
				t.Fatal(err)
			}
			if got := read(t, client, len(message)); got != message {
				t.Errorf("got %q, want %q", got, message)
			}
			at(t, start, time.Duration(2+i)*testRTT, message)
		}
	})
}

func TestDelayDoesNotLimitTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := delayed(t)
		time.Sleep(testRTT) // established
		const writes = 200
		start := time.Now()
		go func() {
			for i := range writes {
				client.Write([]byte{byte(i)})
				time.Sleep(time.Millisecond)
			}
		}()
		for i := range writes {
			if got := read(t, server, 1)[0]; got != byte(i) {
				t.Fatalf("byte %d is %d", i, got)
			}
			at(t, start, time.Duration(i)*time.Millisecond+testRTT/2, "byte received")
		}
		start = time.Now()
		go func() {
			for i := range writes {
				server.Write([]byte{byte(i)})
				time.Sleep(time.Millisecond)
			}
		}()
		for i := range writes {
			if got := read(t, client, 1)[0]; got != byte(i) {
				t.Fatalf("byte %d is %d", i, got)
			}
			at(t, start, time.Duration(i)*time.Millisecond+testRTT/2, "byte sent")
		}
	})
}

func TestOneWindowIsUnderWayAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := delayed(t)
		time.Sleep(testRTT)
		for _, ends := range []struct {
			name     string
			from, to net.Conn
		}{{"to the client", server, client}, {"to the server", client, server}} {
			start := time.Now()
			sent := bytes.Repeat([]byte("0123456789abcdef"), 2*window/16)
			go ends.from.Write(sent)
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(ends.to, got[:window]); err != nil {
				t.Fatal(err)
			}
			at(t, start, testRTT/2, ends.name+": first window")
			if _, err := io.ReadFull(ends.to, got[window:]); err != nil {
				t.Fatal(err)
			}
			at(t, start, testRTT, ends.name+": second window")
			if !bytes.Equal(got, sent) {
				t.Errorf("%s: the bytes have changed", ends.name)
			}
			time.Sleep(testRTT)
		}
	})
}

func TestWhatWasSentBeforeCloseArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := delayed(t)
		start := time.Now()
		io.WriteString(server, "goodbye")
		server.Close()
		at(t, start, 0, "Close returned")
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
		got, err := io.ReadAll(client)
		if string(got) != "goodbye" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		at(t, start, testRTT/2, "the end")
	})
}

func TestTheClientsEndArrivesAfterItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := delayed(t)
		time.Sleep(testRTT)
		start := time.Now()
		io.WriteString(client, "goodbye")
		client.Close()
		got, err := io.ReadAll(server)
		if string(got) != "goodbye" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		at(t, start, testRTT/2, "the end")
		// And nobody takes what is written from now on.
		for {
			if _, err = server.Write(make([]byte, chunkSize)); err != nil {
				break
			}
		}
		if !errors.Is(err, errLost) {
			t.Errorf("Write to a client that is gone: %v", err)
		}
	})
}

// net/http ends its own Read before it hands the connection over, by a deadline
// in the past, and takes it back afterwards.
func TestADeadlineEndsAReadAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := delayed(t)
		time.Sleep(testRTT)
		start := time.Now()
		io.WriteString(client, "x") // arrives in the middle of what follows
		for range 2 {
			ended := make(chan error)
			go func() {
				_, err := server.Read(make([]byte, 1))
				ended <- err
			}()
			time.Sleep(testRTT / 10)
			server.SetReadDeadline(time.Unix(1, 0))
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a Read that begins after the deadline: %v", err)
			}
			server.SetReadDeadline(time.Time{})
		}
		if got := read(t, server, 1); got != "x" {
			t.Errorf("got %q", got)
		}
		at(t, start, testRTT/2, "received")

		server.SetReadDeadline(time.Now().Add(time.Second))
		server.SetReadDeadline(time.Now().Add(2 * time.Second))
		start = time.Now()
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		at(t, start, 2*time.Second, "deadline")
	})
}

func TestAWriteIntoAFullWindowEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(server net.Conn)
		want error
	}{
		{"by a deadline", func(server net.Conn) { server.SetWriteDeadline(time.Now().Add(time.Second)) }, os.ErrDeadlineExceeded},
		{"by Close", func(server net.Conn) { server.Close() }, net.ErrClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, server := delayed(t) // the client reads nothing
				ended := make(chan error)
				written := 0
				go func() {
					n, err := server.Write(make([]byte, 2*window))
					written = n
					ended <- err
				}()
				synctest.Wait()
				c.end(server)
				if err := <-ended; !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if written != window {
					t.Errorf("%d bytes written, want %d", written, window)
				}
			})
		})
	}
}

func TestCloseEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, server := delayed(t)
		ended := make(chan error)
		go func() {
			_, err := server.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		server.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// A client that takes nothing must not keep the connection beneath open for ever.
func TestCloseIsBoundedWhenTheClientTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := delayed(t)
		io.WriteString(server, "x")
		server.Close()
		time.Sleep(testRTT/2 + flushTime)
		synctest.Wait()
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client's Read: %v, want EOF", err)
		}
	})
}
