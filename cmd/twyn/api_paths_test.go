package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tricks are ways to write the path of a resource so that two readers might
// take it for two different ones. %s is the path, beginning with a slash, and
// {host} the address of the server.
var tricks = []string{
	"/%s", "//%s", "/.%s", "/./%s", "/..%s", "/x/..%s", "/healthz/..%s", "/docs/../%s", "/openapi.json/..%s",
	"/%%2e%s", "/%%2e%%2e%s", "/healthz/%%2e%%2e%s", "/healthz/%%2E%%2E%s", "/healthz/%%252e%%252e%s", "/healthz/..%%2f%s", "/healthz%%2f..%s",
	"/healthz;%s", "/healthz/;%s", "/;/%s", "/..;%s", "/docs/..;%s", "%s;", "%s;a=b", "%s;/", "%s%%3b", "%s/;/",
	"%s/", "%s//", "%s/.", "%s/./", "%s/..", "%s/x/..", "%s/%%2e", "%s%%2f", "%s%%2F%%2F", "%s%%5c", "%s\\", "\\%s", "/\\%s",
	"%s%%00", "%s%%00.json", "%s%%0a", "%s%%0d%%0a", "%s%%09", "%s%%20", "%s%%7f", "%s%%c0%%ae", "%s%%ff", "%s%%u002f", "%s%%", "%s%%2", "%s%%zz",
	"%s#", "%s%%23", "%s#/healthz", "%s%%3f", "%s.json", "%s?/../healthz", "%s/../../healthz",
	"http://{host}%s", "http://evil.example%s", "https://{host}%s", "http:%s", "//{host}%s", "///{host}%s", "x:/%s", "*%s", "{host}%s",
}

// TestPathTricks: however the path of another tenant's resource is written, no
// key but its own tenant's reads it, and nobody reads anything without a key.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Owner of a secret")
	stranger := s.newTenant(t, "Stranger")
	const prize = "prize-of-the-owner"
	folder := owner.newScenario(prize)
	sim := owner.newSimulation(map[string]any{"prompt": prize, "scenario_id": folder.ID})
	narrow := owner.newKey(map[string]any{"scopes": []string{"traces:read"}})
	host := strings.TrimPrefix(s.BaseURL, "http://")

	ask := func(method, target, key string) *answer {
		header := ""
		if key != "" {
			header = "X-API-Key: " + key + "\r\n"
		}
		return s.raw(t, method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"+header+"Content-Length: 0\r\nConnection: close\r\n\r\n")
	}
	// Asked for plainly and by its owner the prize is there, so that a test
	// which never sees it means something.
	if a := ask("GET", "/v1/scenarios/"+folder.ID, owner.key); a.status != http.StatusOK || !strings.Contains(string(a.body), prize) {
		t.Fatalf("the owner's own request: answered %d %s", a.status, a.body)
	}
	for _, path := range []string{"/v1/scenarios/" + folder.ID, "/v1/simulations/" + sim.ID, "/v1/keys", "/v1/tenants", "/metrics"} {
		for _, trick := range tricks {
			target := strings.ReplaceAll(fmt.Sprintf(trick, path), "{host}", host)
			for _, who := range []struct{ name, key string }{{"nobody", ""}, {"a stranger", stranger.key}, {"a key without scopes", narrow.APIKey}} {
				for _, method := range []string{"GET", "DELETE"} {
					a := ask(method, target, who.key)
					own := who.name == "a stranger" && path == "/v1/keys" && a.status == http.StatusOK
					if (a.status < 400 && a.status != 0 && !own) || strings.Contains(string(a.body), prize) {
						t.Errorf("%s %s as %s: answered %d %s", method, target, who.name, a.status, redact(a.body))
					}
					if a.status >= 500 {
						t.Errorf("%s %s as %s: answered %d %s", method, target, who.name, a.status, a.body)
					}
				}
			}
		}
	}
	// The owner's things are all still there.
	owner.get("/v1/scenarios/" + folder.ID).want(http.StatusOK)
	owner.get("/v1/simulations/" + sim.ID).want(http.StatusOK)
	// What the contract says is refused is refused with 400, even with a key.
	for _, target := range []string{
		"//v1/keys", "/v1//keys", "/v1/./keys", "/v1/../v1/keys", "/v1/%2e%2e/v1/keys", "/v1/%2E/keys", "/v1%2fkeys", "/v1/keys%00", "/v1/keys;a=b", "/v1/keys;", "/v1\\keys",
		"http://" + host + "/v1/keys", "http://evil.example/v1/keys",
	} {
		a := ask("GET", target, owner.key)
		if a.status != http.StatusBadRequest || !isDetail(a.body) {
			t.Errorf("GET %s with a key: answered %d %s; want 400", target, a.status, redact(a.body))
		}
	}
	// An escape that hides nothing is the letter that it stands for.
	if a := ask("GET", "/v1/key%73", owner.key); a.status != http.StatusOK {
		t.Errorf("GET /v1/key%%73: answered %d %s", a.status, redact(a.body))
	}
}

// TestRequestTricks: headers and framing that two readers might take for two
// different requests.
func TestRequestTricks(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Framing")
	stranger := s.newTenant(t, "Smuggler")
	const prize = "prize-of-the-framed"
	folder := owner.newScenario(prize)
	path := "/v1/scenarios/" + folder.ID
	for name, request := range map[string]string{
		"method override":      "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: DELETE\r\nX-API-Key: " + stranger.key + "\r\n",
		"rewritten URL":        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Original-URL: " + path + "\r\nX-Rewrite-URL: " + path + "\r\n",
		"forwarded prefix":     "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-Prefix: /healthz\r\nX-Forwarded-Uri: /healthz\r\n",
		"two keys, own last":   "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key: " + stranger.key + "\r\nX-API-Key: " + owner.key + "\r\n",
		"two keys, own first":  "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key: " + owner.key + "\r\nX-API-Key: " + stranger.key + "\r\n",
		"key with underscores": "GET " + path + " HTTP/1.1\r\nHost: x\r\nX_API_KEY: " + owner.key + "\r\n",
		"folded key":           "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key:\r\n " + owner.key + "\r\nX-API-Key: " + stranger.key + "\r\n",
		"space before colon":   "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key : " + owner.key + "\r\nX-API-Key: " + stranger.key + "\r\n",
		"trailer":              "POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-API-Key\r\n\r\n0\r\nX-API-Key: " + owner.key + "\r\n",
		"two lengths":          "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key: " + stranger.key + "\r\nContent-Length: 0\r\nContent-Length: 5\r\n",
		"length and chunks":    "POST /v1/scenarios HTTP/1.1\r\nHost: x\r\nX-API-Key: " + stranger.key + "\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
		"tenant of choice":     "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key: " + stranger.key + "\r\nX-Tenant-Id: " + owner.tenant + "\r\nX_Tenant_Id: " + owner.tenant + "\r\n",
		"old protocol":         "GET " + path + " HTTP/1.0\r\n",
		"no protocol":          "GET " + path + "\r\n",
		"lower-case method":    "get " + path + " HTTP/1.1\r\nHost: x\r\nX-API-Key: " + stranger.key + "\r\n",
	} {
		connection := ""
		if strings.Contains(request, "HTTP/1.1") && !strings.Contains(request, "\r\n\r\n") {
			connection = "Connection: close\r\n"
		}
		a := s.raw(t, request+connection+"\r\n")
		if strings.Contains(string(a.body), prize) || a.status >= 500 || (a.status == http.StatusOK && name != "rewritten URL") {
			t.Errorf("%s: answered %d %s", name, a.status, redact(a.body))
		}
	}
	owner.get(path).want(http.StatusOK)
}
