package footage_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"heldar/footage"
	"heldar/footage/footagepb"
)

// The whole test folder of a run, and what has to be ended before it goes.
var (
	scratch string
	running struct {
		sync.Mutex
		servers []*server
	}
)

func TestMain(m *testing.M) {
	if os.Getenv(childAddress) != "" {
		childThatFollows()
		return
	}
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "footage-go-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(scratch)
		defer func() {
			for _, s := range running.servers {
				s.stop()
			}
		}()
		return m.Run()
	}())
}

// server is the built binary as a process, on a port and in a folder of its own.
type server struct {
	folder   string
	address  string
	settings []string
	process  *exec.Cmd
	log      *os.File
}

// sharedServer is the server that most tests use, once its footage was imported.
func sharedServer(t testing.TB) *server {
	t.Helper()
	shared.Do(func() { shared.server = launch(t, "shared") })
	if shared.server == nil {
		t.Fatal("the server that most tests use did not start")
	}
	return shared.server
}

var shared struct {
	sync.Once
	server *server
}

// startServer starts another server with the same footage.
func startServer(t testing.TB, settings ...string) *server {
	t.Helper()
	recordings := filepath.Join(sharedServer(t).folder, "recordings")
	folder, err := os.MkdirTemp(scratch, "server-")
	if err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("cp", "-rp", recordings, folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return launch(t, filepath.Base(folder), settings...)
}

func launch(t testing.TB, name string, settings ...string) *server {
	t.Helper()
	if os.Getenv("FOOTAGE_BIN") == "" {
		t.Fatal("FOOTAGE_BIN names the built server")
	}
	log, err := os.Create(filepath.Join(scratch, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{folder: filepath.Join(scratch, name), settings: settings, log: log}
	s.start(t, "127.0.0.1:0")
	running.Lock()
	running.servers = append(running.servers, s)
	running.Unlock()
	untilImported(t, s.client(t))
	return s
}

// start starts the server, again at the address it had when that is given.
func (s *server) start(t testing.TB, listen string) {
	t.Helper()
	s.process = exec.Command(clients("conformance/server.sh"), append([]string{s.folder}, s.settings...)...)
	s.process.Env = append(os.Environ(), "HELDAR_LISTEN="+listen)
	s.process.Stderr = s.log
	out, err := s.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_, address, listens := strings.Cut(strings.TrimSpace(line), " listening on http://")
	if !listens {
		_ = s.process.Wait()
		said, _ := os.ReadFile(s.log.Name())
		t.Fatalf("the server did not start: %s", said)
	}
	s.address = address
}

// stop ends the server and waits for its end.
func (s *server) stop() {
	if s.process.ProcessState == nil {
		s.terminate()
		_ = s.process.Wait()
	}
}

func (s *server) terminate() { _ = s.process.Process.Signal(syscall.SIGTERM) }

func (s *server) client(t testing.TB, options ...footage.Option) *footage.Client {
	t.Helper()
	return newClient(t, s.address, options...)
}

func newClient(t testing.TB, address string, options ...footage.Option) *footage.Client {
	t.Helper()
	client, err := footage.New(address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// untilImported waits until the first import has ended: sixty seconds of three cameras.
func untilImported(t testing.TB, client *footage.Client) {
	t.Helper()
	untilJob(t, client, &footagepb.JobFilter{
		Kinds:  []footagepb.JobKind{footagepb.JobKind_JOB_KIND_IMPORT},
		States: []footagepb.JobState{footagepb.JobState_JOB_STATE_SUCCEEDED},
	})
}

// untilJob waits for a job, and returns it.
func untilJob(t testing.TB, client *footage.Client, filter *footagepb.JobFilter) *footagepb.Job {
	t.Helper()
	stream, err := client.Jobs.WatchJobs(soon(t), &footagepb.WatchJobsRequest{Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			t.Fatalf("no job like %v: %v", filter, err)
		}
		if response.GetJob() != nil {
			return response.GetJob()
		}
	}
}

// soon is a context for what takes seconds: what hangs fails, and the servers are stopped all the same.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// clients returns a path beneath the folder of all clients.
func clients(path string) string {
	absolute, err := filepath.Abs(filepath.Join("..", path))
	if err != nil {
		panic(err)
	}
	return absolute
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func namesIn(t testing.TB, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return fmt.Sprint(names)
}
