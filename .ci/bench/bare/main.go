// Command bare is what `make bench` measures the server against: a Fiber
// handler that does nothing but answer, with the very bytes that the server
// gives to the same request. It must import Fiber and the standard library
// only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"github.com/gofiber/fiber/v2"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	from := flag.String("from", "", "URL whose answer to give, asked with the API key in TWYN_API_KEY")
	flag.Parse()
	if err := run(*addr, *from, os.Getenv("TWYN_API_KEY")); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bare: %v\n", err)
		os.Exit(1)
	}
}

// answer is what the handler gives to every request.
type answer struct {
	status  int
	headers [][2]string
	body    []byte
}

func run(addr, from, key string) error {
	a, err := fetch(context.Background(), from, key)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Use(func(c *fiber.Ctx) error {
		for _, h := range a.headers {
			c.Set(h[0], h[1])
		}
		return c.Status(a.status).Send(a.body)
	})
	return app.Listen(addr)
}

// fetch asks the server once. Headers that Fiber sets by itself are left out.
func fetch(ctx context.Context, url, key string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-Api-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, body: body}
	for name, values := range res.Header {
		if slices.Contains([]string{"Date", "Content-Length", "Connection"}, name) {
			continue
		}
		a.headers = append(a.headers, [2]string{name, values[0]})
	}
	return a, nil
}
