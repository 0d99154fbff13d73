package policies

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
)

// BundleKey verifies the signatures of bundles.
type BundleKey struct {
	// Key is a public key in PEM, or the secret of an HMAC.
	Key string
	// Algorithm is OPA's name for it; "" stands for RS256.
	Algorithm string
	// Scope has to be the scope that the signature names; "" for none.
	Scope string
}

const (
	// bundleKeyID is the name under which OPA looks the key up, whatever name
	// the signature gives it.
	bundleKeyID = "twyn"
	// signaturesFile holds the signatures of a bundle.
	signaturesFile = ".signatures.json"
	// patchFile makes a bundle a delta, which is no whole policy.
	patchFile = "patch.json"
)

// ErrBundle means that bytes are no bundle, or one whose signature is missing or
// wrong.
var ErrBundle = errors.New("not a good bundle")

// ReadBundle returns the files of an OPA bundle (.tar.gz) by path, as Check takes
// them. If key is not nil, the bundle has to be signed with it. What is in the
// bundle besides Rego and data is passed over. Its errors wrap ErrBundle.
//
// OPA's own reader is not asked: it parses what it reads without the bounds that
// Check has, and unpacks without any.
func ReadBundle(r io.Reader, key *BundleKey) (map[string]string, error) {
	all, err := unpack(r)
	if err != nil {
		return nil, err
	}
	if _, isDelta := all[patchFile]; isDelta {
		return nil, fmt.Errorf("%w: a delta bundle", ErrBundle)
	}
	if key != nil {
		if err := key.verify(all); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
	}
	files := map[string]string{}
	for name, content := range all {
		if isSource(path.Base(name)) {
			files[name] = string(content)
		}
	}
	return files, nil
}

// unpack returns the regular files of an archive by path.
func unpack(r io.Reader) (map[string][]byte, error) {
	unzipped, err := gzip.NewReader(io.LimitReader(r, maxTotalBytes))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	files := map[string][]byte{}
	// What is small may unpack to something large.
	archive := tar.NewReader(io.LimitReader(unzipped, 2*maxTotalBytes))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		if _, twice := files[name]; twice {
			return nil, fmt.Errorf("%w: %s is there twice", ErrBundle, name)
		}
		if len(files) == maxFiles {
			return nil, fmt.Errorf("%w: more than %d files", ErrBundle, maxFiles)
		}
		content, err := io.ReadAll(io.LimitReader(archive, maxFileBytes+1))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
		if len(content) > maxFileBytes {
			return nil, fmt.Errorf("%w: %s is over %d bytes", ErrBundle, name, maxFileBytes)
		}
		files[name] = content
	}
}

// verify holds all files to the signatures among them.
func (k *BundleKey) verify(files map[string][]byte) error {
	text, signed := files[signaturesFile]
	if !signed {
		return errors.New("not signed")
	}
	var signatures bundle.SignaturesConfig
	if err := json.Unmarshal(text, &signatures); err != nil {
		return fmt.Errorf("reading the signatures: %w", err)
	}
	algorithm := k.Algorithm
	if algorithm == "" {
		algorithm = "RS256"
	}
	config, err := keys.NewKeyConfig(k.Key, algorithm, k.Scope)
	if err != nil {
		return fmt.Errorf("reading the key: %w", err)
	}
	listed, err := bundle.VerifyBundleSignature(signatures,
		bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{bundleKeyID: config}, bundleKeyID, k.Scope, nil))
	if err != nil {
		return fmt.Errorf("verifying the signature: %w", err)
	}
	for name, content := range files {
		if name == signaturesFile {
			continue
		}
		if err := bundle.VerifyBundleFile(name, *bytes.NewBuffer(content), listed); err != nil {
			return fmt.Errorf("verifying %s: %w", name, err)
		}
	}
	for name := range listed {
		return fmt.Errorf("%s is signed and missing", name)
	}
	return nil
}
