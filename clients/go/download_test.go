package footage_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"heldar/footage"
	"heldar/footage/footagepb"
)

const content = "what the camera saw"

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func clipOf(text string) *footagepb.Clip {
	return &footagepb.Clip{Id: "clip_1", FileName: "clip.mp4", SizeBytes: int64(len(text)), Sha256: hashOf(text)}
}

func header(text, hash, etag string, offset int64) *footagepb.DownloadClipResponse {
	return &footagepb.DownloadClipResponse{Content: &footagepb.DownloadClipResponse_Header{Header: &footagepb.FileHeader{
		TotalSizeBytes: int64(len(text)), Sha256: hash, Etag: etag, OffsetBytes: offset, LengthBytes: int64(len(text)) - offset,
	}}}
}

func data(text string) *footagepb.DownloadClipResponse {
	return &footagepb.DownloadClipResponse{Content: &footagepb.DownloadClipResponse_Data{Data: []byte(text)}}
}

func TestAVirtualClipThatChangesInTheMiddleIsFetchedAnew(t *testing.T) {
	virtual := clipOf(content)
	virtual.Sha256 = ""
	var offsets []int64
	s := &standIn{download: func(call int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		offsets = append(offsets, offset)
		if call == 1 {
			send(header("what was there before", "", "old", 0))
			send(data("what was"))
			return away(0)
		}
		send(header(content, "", "new", offset))
		send(data(content[offset:]))
		return nil
	}}
	folder := t.TempDir()
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		path, err := client.DownloadClip(t.Context(), virtual, folder)
		if err != nil || string(mustRead(t, path)) != content {
			t.Errorf("the file is wrong: %v", err)
		}
	})
	if !slices.Equal(offsets, []int64{0, 8, 0}) {
		t.Errorf("the calls began at %v", offsets)
	}
	if names := namesIn(t, folder); names != "[clip.mp4]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestAServerThatHasAnotherFileThanTheClipIsNotBelieved(t *testing.T) {
	s := &standIn{download: func(_ int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		send(header("something else", hashOf("something else"), "1", offset))
		send(data("something else"))
		return nil
	}}
	folder := t.TempDir()
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		_, err := client.DownloadClip(t.Context(), clipOf(content), folder)
		if !errors.Is(err, footage.ErrDataLoss) || s.downloads.Load() != 1 {
			t.Errorf("after %d calls: %v", s.downloads.Load(), err)
		}
	})
	if names := namesIn(t, folder); names != "[]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestTooManyBytesAreALossOfData(t *testing.T) {
	s := &standIn{download: func(_ int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		send(header(content, hashOf(content), "1", offset))
		send(data(content + " and more"))
		return nil
	}}
	folder := t.TempDir()
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		if _, err := client.DownloadClip(t.Context(), clipOf(content), folder); !errors.Is(err, footage.ErrDataLoss) {
			t.Errorf("the download ended with %v", err)
		}
	})
	if names := namesIn(t, folder); names != "[]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestADownloadThatGetsNowhereIsGivenUpAndLeavesWhatCame(t *testing.T) {
	s := &standIn{download: func(call int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		send(header(content, hashOf(content), "1", offset))
		if call == 1 {
			send(data(content[:8]))
		}
		return nil
	}}
	folder := t.TempDir()
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		began := time.Now()
		_, err := client.DownloadClip(t.Context(), clipOf(content), folder)
		if took := time.Since(began); !errors.Is(err, footage.ErrUnavailable) || took < 5*time.Second || took > 10*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	}, footage.WithPatience(10*time.Second))
	if left := mustRead(t, filepath.Join(folder, ".clip.mp4."+hashOf(content)[:16]+".part")); string(left) != content[:8] {
		t.Errorf("this is left: %q", left)
	}
}

func TestADownloadThatIsCancelledLeavesNothingOfAVirtualClip(t *testing.T) {
	virtual := clipOf(content)
	virtual.Sha256 = ""
	s := &standIn{download: func(_ int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		send(header(content, "", "1", offset))
		send(data(content[offset : offset+1]))
		return away(time.Second)
	}}
	folder := t.TempDir()
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		_, err := client.DownloadClip(ctx, virtual, folder, footage.OnBytes(func(received, _ int64) {
			if received == 3 {
				cancel()
			}
		}))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the download ended with %v", err)
		}
	})
	if names := namesIn(t, folder); names != "[]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestAClipThatIsGoneLeavesNothing(t *testing.T) {
	s := &standIn{download: func(int, int64, func(*footagepb.DownloadClipResponse)) error {
		return failed(codes.NotFound, "CLIP_NOT_FOUND")
	}}
	folder := t.TempDir()
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		if _, err := client.DownloadClip(t.Context(), clipOf(content), folder); !errors.Is(err, footage.ErrNotFound) || s.downloads.Load() != 1 {
			t.Errorf("after %d calls: %v", s.downloads.Load(), err)
		}
	})
	if names := namesIn(t, folder); names != "[]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestAServersNameForAFileDoesNotLeadOutOfTheFolder(t *testing.T) {
	s := &standIn{download: func(_ int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		send(header(content, hashOf(content), "1", offset))
		send(data(content))
		return nil
	}}
	folder := filepath.Join(t.TempDir(), "inner")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	clip := clipOf(content)
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		clip.FileName = "../../etc/clip.mp4"
		if path, err := client.DownloadClip(t.Context(), clip, folder); err != nil || path != filepath.Join(folder, "clip.mp4") {
			t.Errorf("the file is at %q, %v", path, err)
		}
		for _, name := range []string{"..", ".", "", "/"} {
			clip.FileName = name
			if path, err := client.DownloadClip(t.Context(), clip, folder); !errors.Is(err, footage.ErrInvalidArgument) {
				t.Errorf("%q: the file is at %q, %v", name, path, err)
			}
		}
	})
	if names := namesIn(t, filepath.Dir(folder)); names != "[inner]" {
		t.Errorf("the folder above has %s", names)
	}
}

func TestAFaultOfTheDiskIsNotTriedAgain(t *testing.T) {
	s := &standIn{}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		_, err := client.DownloadClip(t.Context(), clipOf(content), filepath.Join(t.TempDir(), "nowhere", "clip.mp4"))
		if !errors.Is(err, fs.ErrNotExist) || s.downloads.Load() != 0 {
			t.Errorf("after %d calls: %v", s.downloads.Load(), err)
		}
	})
	// The disk fills up, after some bytes have come.
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	s.download = func(_ int, offset int64, send func(*footagepb.DownloadClipResponse)) error {
		send(header(content, hashOf(content), "1", offset))
		send(data(content))
		return nil
	}
	folder := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(folder, ".clip.mp4."+hashOf(content)[:16]+".part")); err != nil {
		t.Fatal(err)
	}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		_, err := client.DownloadClip(soon(t), clipOf(content), folder)
		if !errors.Is(err, syscall.ENOSPC) || s.downloads.Load() != 1 {
			t.Errorf("after %d calls: %v", s.downloads.Load(), err)
		}
	})
}
