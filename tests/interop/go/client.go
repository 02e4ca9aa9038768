// go-tuf's client as a command: `client URL FOLDER TARGET...`.
//
// FOLDER has the pinned root.json and keeps what the client learns. A line of JSON says what each target's sha256 is, or
// null: signed proof of absence. Whatever is refused ends the client with status 1 and the reason on stderr.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client URL FOLDER TARGET...")
		os.Exit(2)
	}
	found, err := look(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%T: %v\n", err, err)
		os.Exit(1)
	}
	line, _ := json.Marshal(found)
	fmt.Println(string(line))
}

// look refreshes from the pinned root, and looks each target up.
func look(url, folder string, names []string) (map[string]*string, error) {
	root, err := os.ReadFile(filepath.Join(folder, "root.json"))
	if err != nil {
		return nil, err
	}
	settings, err := config.New(url+"metadata/", root)
	if err != nil {
		return nil, err
	}
	settings.LocalMetadataDir = folder
	settings.LocalTargetsDir = filepath.Join(folder, "targets")
	settings.RemoteTargetsURL = url + "targets/"
	client, err := updater.New(settings)
	if err != nil {
		return nil, err
	}
	if err := client.Refresh(); err != nil {
		return nil, err
	}
	found := map[string]*string{}
	for _, name := range names {
		target, err := client.GetTargetInfo(name)
		if err != nil {
			// go-tuf has no error of its own for what no role lists.
			if err.Error() == fmt.Sprintf("target %s not found", name) {
				found[name] = nil
				continue
			}
			return nil, err
		}
		_, data, err := client.DownloadTarget(target, "", "")
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		digest := hex.EncodeToString(sum[:])
		found[name] = &digest
	}
	return found, nil
}
