package footage

import (
	"context"
	"errors"
	"io"

	"heldar/footage/footagepb"
)

// DownloadOption changes how a file is downloaded.
type DownloadOption func(*download)

// OnBytes calls back with the bytes received and the bytes in all.
func OnBytes(show func(received, total int64)) DownloadOption {
	return func(d *download) { d.onBytes = show }
}

// DownloadClip saves a clip and returns where: at path, or under its own name when path is a folder or empty.
//
// Until it is whole and its SHA-256 is right it has a temporary name. A broken download goes on where it stopped, also when
// the program is started again. Of a clip that has no SHA-256 (virtual or quick)
// only the length is compared.
func (c *Client) DownloadClip(ctx context.Context, clip *footagepb.Clip, path string, options ...DownloadOption) (string, error) {
	return c.download(ctx, clip, path, options, func(ctx context.Context, offset int64) (receive, error) {
		stream, err := c.Clips.DownloadClip(ctx, &footagepb.DownloadClipRequest{ClipId: clip.GetId(), OffsetBytes: offset})
		if err != nil {
			return nil, err
		}
		return func() (content, error) { return stream.Recv() }, nil
	})
}

// DownloadArchive saves an archive as [Client.DownloadClip] saves a clip.
func (c *Client) DownloadArchive(ctx context.Context, archive *footagepb.Archive, path string, options ...DownloadOption) (string, error) {
	return c.download(ctx, archive, path, options, func(ctx context.Context, offset int64) (receive, error) {
		stream, err := c.Archives.DownloadArchive(ctx, &footagepb.DownloadArchiveRequest{ArchiveId: archive.GetId(), OffsetBytes: offset})
		if err != nil {
			return nil, err
		}
		return func() (content, error) { return stream.Recv() }, nil
	})
}

// stored is a clip or an archive.
type stored interface {
	GetFileName() string
	GetSizeBytes() int64
	GetSha256() string
}

// content is a message of a download, of a clip or of an archive.
type content interface {
	GetHeader() *footagepb.FileHeader
	GetData() []byte
}

type receive func() (content, error)

// download is a file on its way.
type download struct {
	open     func(ctx context.Context, offset int64) (receive, error)
	part     *partFile
	patience patience
	onBytes  func(received, total int64)
}

func (c *Client) download(
	ctx context.Context, what stored, path string, options []DownloadOption, open func(context.Context, int64) (receive, error),
) (_ string, err error) {
	path, err = pathFor(path, what.GetFileName())
	if err != nil {
		return "", err
	}
	part, err := openPartFile(path, what)
	if err != nil {
		return "", err
	}
	defer func() { err = with(err, part.close()) }()
	d := download{open: open, part: part, patience: patience{limit: c.settings.patience}}
	for _, option := range options {
		option(&d)
	}
	for {
		err := d.fetch(ctx)
		var failure *Error
		if err != nil && !errors.As(err, &failure) {
			return "", err
		}
		if err == nil && part.isWhole() {
			named, err := part.finish()
			if err != nil {
				return "", err
			}
			if named {
				return path, nil
			}
			continue
		}
		if err := d.patience.pauseAfter(ctx, failure); err != nil {
			return "", err
		}
	}
}

// fetch takes what one call delivers, from the first byte that is not there yet. What the call fails with is an [*Error];
// any other error is one of the disk.
func (d *download) fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, err := d.open(ctx, d.part.received)
	if err != nil {
		return fromCall(ctx, err)
	}
	for {
		message, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fromCall(ctx, err)
		}
		if header := message.GetHeader(); header != nil {
			if goesOn, err := d.part.begin(header); err != nil || !goesOn {
				return err
			}
			continue
		}
		d.patience.reset()
		if err := d.part.write(message.GetData()); err != nil {
			return err
		}
		if d.onBytes != nil {
			d.onBytes(d.part.received, d.part.size)
		}
	}
}
