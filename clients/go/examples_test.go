package footage_test

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builtExamples is the folder with the programs, built once.
var builtExamples = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(scratch, "examples")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if said, err := exec.Command("go", "build", "-o", folder+"/", "./examples/...").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return folder, nil
})

func runExample(t *testing.T, folder, name string, arguments ...string) string {
	t.Helper()
	programs, err := builtExamples()
	if err != nil {
		t.Fatal(err)
	}
	return runIn(t, folder, filepath.Join(programs, name), arguments...)
}

// runIn runs a program in a folder and returns what it printed.
func runIn(t *testing.T, folder, program string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Dir = folder
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", program, arguments, err, said)
	}
	return string(said)
}

func onlyFileIn(t *testing.T, folder, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("there are %v, not one %s", found, pattern)
	}
	return found[0]
}

func TestTheClipExampleSavesTheLastMinute(t *testing.T) {
	folder := t.TempDir()
	said := runExample(t, folder, "clip", sharedServer(t).address, "gate_a_01")
	saved := mustRead(t, onlyFileIn(t, folder, "*"))
	if !strings.Contains(said, "succeeded") || !strings.Contains(said, fmt.Sprintf("%d bytes", len(saved))) {
		t.Errorf("the example said %q", said)
	}
}

func TestTheArchiveExampleSavesThreeCameras(t *testing.T) {
	folder := t.TempDir()
	if said := runExample(t, folder, "archive", sharedServer(t).address); !strings.Contains(said, "of 3 cameras") {
		t.Errorf("the example said %q", said)
	}
	saved, err := zip.OpenReader(onlyFileIn(t, folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	if len(saved.File) != 22 {
		t.Errorf("the archive has %d entries", len(saved.File))
	}
}

func TestTheBackupExampleSendsEverythingOnce(t *testing.T) {
	s := sharedServer(t)
	folder := filepath.Join(s.folder, "backups", "example")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, expected := range []string{"17 files sent, 0 failed", "0 files sent, 0 failed"} {
		if said := runExample(t, t.TempDir(), "backup", folder, s.address); !strings.Contains(said, "\n"+expected) {
			t.Errorf("the example said %q, not %q", said, expected)
		}
	}
}

func TestAnExampleSaysWhatIsWrong(t *testing.T) {
	programs, err := builtExamples()
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(filepath.Join(programs, "clip"), sharedServer(t).address, "nowhere").CombinedOutput()
	if err == nil || string(said) != "no clip: camera nowhere not found (CAMERA_NOT_FOUND)\n" {
		t.Errorf("the example ended with %v and said %q", err, said)
	}
}

// The page's commands are run as they stand there; only the place of the checkout and the server's address are others.
func TestThePageLeadsFromAnEmptyFolderToASavedClip(t *testing.T) {
	page := string(mustRead(t, "README.md"))
	program := strings.ReplaceAll(firstBlock(t, page, "go"), "127.0.0.1:50051", sharedServer(t).address)
	commands := strings.ReplaceAll(firstBlock(t, page, "console"), "../heldar-footage/clients/go", clients("go"))
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	var said string
	for line := range strings.Lines(commands) {
		said = runIn(t, folder, "bash", "-ec", strings.TrimPrefix(line, "$ "))
	}
	saved := filepath.Base(onlyFileIn(t, folder, "*.mp4"))
	if !strings.HasSuffix(said, saved+"\n") {
		t.Errorf("%s was saved, and the program said %q", saved, said)
	}
}

func firstBlock(t *testing.T, page, language string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, "```"+language+"\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("the page has no block of %s", language)
	}
	return block
}
