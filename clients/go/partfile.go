package footage

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"

	"heldar/footage/footagepb"
)

// partFile is a file that is not whole yet, under a hidden temporary name beside its end.
//
// The temporary name has part of the hash in it, so that all who write the file write the same bytes at the same places:
// two downloads at a time do not spoil each other's, and what an earlier program left is taken up.
type partFile struct {
	path string
	part string
	file *os.File
	hash hash.Hash
	// The hash that the clip or archive has, or the server says; empty for a clip that has none.
	sha256   string
	etag     string
	received int64
	size     int64
	// Whether some of the bytes were left by an earlier download.
	inherited bool
}

// pathFor returns where a download ends.
func pathFor(path, fileName string) (string, error) {
	if path == "" {
		path = "."
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return path, nil
	}
	// A server's name for a file must not lead out of the folder.
	name := filepath.Base(fileName)
	if fileName == "" || name == "." || !filepath.IsLocal(name) {
		return "", badArgument("file_name", fmt.Sprintf("%q is no name for a file in a folder", fileName))
	}
	return filepath.Join(path, name), nil
}

func openPartFile(path string, what stored) (*partFile, error) {
	mark := what.GetSha256()
	if mark == "" {
		// Nothing could tell whether what an earlier download left fits.
		mark = rand.Text()
	}
	part := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%.16s.part", filepath.Base(path), mark))
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	p := &partFile{path: path, part: part, file: file, hash: sha256.New(), sha256: what.GetSha256(), size: what.GetSizeBytes()}
	// One byte more than there should be is enough to see that it is too long.
	p.received, err = io.Copy(p.hash, io.LimitReader(file, p.size+1))
	if err != nil {
		return nil, with(err, p.close())
	}
	p.inherited = p.received > 0
	if p.received > p.size {
		p.restart()
	}
	return p, nil
}

// begin takes the header of an answer. It returns false when the bytes that follow are not the next ones, because the file
// changed meanwhile, and the call has to be made anew.
func (p *partFile) begin(header *footagepb.FileHeader) (bool, error) {
	if promised := header.GetSha256(); promised != "" {
		if p.sha256 != "" && p.sha256 != promised {
			return false, p.loss(fmt.Sprintf("the server has a file with SHA-256 %s now, not %s", promised, p.sha256))
		}
		p.sha256 = promised
	}
	if p.etag != "" && p.etag != header.GetEtag() {
		p.restart()
	}
	p.etag, p.size = header.GetEtag(), header.GetTotalSizeBytes()
	return header.GetOffsetBytes() == p.received, nil
}

func (p *partFile) write(data []byte) error {
	if _, err := p.file.WriteAt(data, p.received); err != nil {
		return err
	}
	p.hash.Write(data)
	p.received += int64(len(data))
	return nil
}

func (p *partFile) isWhole() bool { return p.received >= p.size }

// finish gives the file its name. It returns false when what an earlier download left was wrong, and all has to come again.
func (p *partFile) finish() (bool, error) {
	found := hex.EncodeToString(p.hash.Sum(nil))
	if p.received != p.size || p.sha256 != "" && p.sha256 != found {
		if p.inherited {
			p.restart()
			return false, nil
		}
		promised := p.sha256
		if promised == "" {
			promised = "any"
		}
		loss := p.loss(fmt.Sprintf("%d bytes with SHA-256 %s came, not %d with %s", p.received, found, p.size, promised))
		return false, with(loss, p.remove())
	}
	// What was left may have been longer than what is right.
	if err := errors.Join(p.file.Truncate(p.size), p.file.Sync()); err != nil {
		return false, err
	}
	return true, p.rename(found)
}

// rename gives the file its name, unless another download of the same bytes to the same place did that already. found is
// the hash of the bytes.
func (p *partFile) rename(found string) error {
	own, err := p.file.Stat()
	if err != nil {
		return err
	}
	file := p.file
	p.file = nil
	if err := file.Close(); err != nil {
		return err
	}
	if isSame(own, p.part) {
		// The other download may give the name in the moment between.
		if err := os.Rename(p.part, p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if isSame(own, p.path) || hashOf(p.path) == found {
		return nil
	}
	return &fs.PathError{Op: "rename", Path: p.part, Err: errors.New("taken away while it was written")}
}

func isSame(own os.FileInfo, path string) bool {
	other, err := os.Stat(path)
	return err == nil && os.SameFile(own, other)
}

// hashOf returns the hash of a file; empty where it cannot be read.
func hashOf(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// close leaves what came where a later download finds it; nothing where none could tell whether it fits.
func (p *partFile) close() error {
	if p.file == nil {
		return nil
	}
	if p.sha256 == "" || p.received == 0 {
		return p.remove()
	}
	file := p.file
	p.file = nil
	return file.Close()
}

func (p *partFile) remove() error {
	file := p.file
	p.file = nil
	err := errors.Join(file.Close(), os.Remove(p.part))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// restart lets all bytes come again. What is there is written over, because another download may rely on it.
func (p *partFile) restart() {
	p.hash.Reset()
	p.received = 0
	p.inherited = false
}

func (p *partFile) loss(what string) *Error {
	return &Error{Code: codes.DataLoss, Message: fmt.Sprintf("%s: %s", filepath.Base(p.path), what)}
}
