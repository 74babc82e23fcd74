//go:build linux

package lab

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// sshKey writes a new key pair to file and file.pub, and returns the public half as a line of authorized_keys.
func sshKey(file, comment string) (string, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return "", err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPub))) + " " + comment + "\n"
	return line, errors.Join(
		os.WriteFile(file, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(file+".pub", []byte(line), 0o644))
}

// findSystem finds a program that ordinary users may not have on their PATH.
func findSystem(name string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin") {
		if file := filepath.Join(dir, name); filepath.IsAbs(file) {
			if st, err := os.Stat(file); err == nil && st.Mode()&0o111 != 0 && !st.IsDir() {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// sshdConfig writes the configuration of one machine's sshd.
func sshdConfig(sshd, dir, authorized string) (string, error) {
	text := fmt.Sprintf(`Port 22
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
MaxStartups 1000
LogLevel ERROR
Subsystem sftp internal-sftp
`, filepath.Join(dir, "host_key"), authorized)
	file := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", err
	}
	// Newer servers turn away an address that often connects without signing in, as our probes do.
	if exec.Command(sshd, "-t", "-f", file, "-o", "PerSourcePenalties=no").Run() == nil {
		text += "PerSourcePenalties no\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	if out, err := exec.Command(sshd, "-t", "-f", file).CombinedOutput(); err != nil {
		return "", fmt.Errorf("sshd does not accept its configuration: %s", strings.TrimSpace(string(out)))
	}
	return file, nil
}

// sshHome writes what the requester's ssh reads: its key, and the keys of all machines, so that nothing is asked.
func sshHome(home, login string, known []string) error {
	dir := filepath.Join(home, ".ssh")
	config := fmt.Sprintf(`Host *
	User %s
	IdentityFile %s
	IdentitiesOnly yes
	UserKnownHostsFile %s
	GlobalKnownHostsFile none
	StrictHostKeyChecking yes
	ConnectTimeout 5
	LogLevel ERROR
`, login, filepath.Join(dir, "id_ed25519"), filepath.Join(dir, "known_hosts"))
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(strings.Join(known, "")), 0o644),
		os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600))
}
