package main

import (
	"strings"
	"text/template"

	"datamesh/internal/errs"
)

// unitName is what systemd calls the service.
const unitName = "datamesh.service"

// unitMark is the line by which a unit is known to be ours.
const unitMark = "# Written by datamesh service install; datamesh service uninstall removes it."

// A unit is what is in a unit file.
type unit struct {
	Mark      string
	System    bool   // of the machine, not of a user
	Program   string // absolute path
	Verb      string // service, or bootstrap
	Home      string // absolute path
	Bootstrap string // PEER_ID@ADDR, or ""
}

// stateHome is the home of the machine's service: systemd makes it, for a
// user that it makes too.
const stateHome = "/var/lib/datamesh"

// unitText is hardened as far as a node allows: it reads and writes its home,
// and talks over IP and Unix sockets. What needs privileges is left out of a
// user's unit.
var unitText = template.Must(template.New(unitName).Funcs(template.FuncMap{"quote": unitQuote}).Parse(`{{.Mark}}
[Unit]
Description=DataMesh storage node
Documentation=man:datamesh(1)
{{- if .System}}
Wants=network-online.target
After=network-online.target
{{- end}}

[Service]
Type=notify
ExecStart={{quote .Program}} --home {{quote .Home}} {{.Verb}}
{{- with .Bootstrap}}
Environment={{quote (printf "DATAMESH_MESH_BOOTSTRAP=%s" .)}}
{{- end}}
Restart=on-failure
RestartPreventExitStatus=2 6 10
RestartSec=5
TimeoutStartSec=infinity
TimeoutStopSec=60
WatchdogSec=60
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
{{- if .System}}
SystemCallFilter=~@privileged
DynamicUser=yes
User=datamesh
StateDirectory=datamesh
StateDirectoryMode=0700
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
{{- end}}

[Install]
WantedBy={{if .System}}multi-user.target{{else}}default.target{{end}}
`))

// unitQuote writes a word so that systemd reads that word.
func unitQuote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(s)
	if strings.ContainsAny(s, " \t'\"\\;") {
		s = `"` + s + `"`
	}
	return s
}

// hidden is the error that the service could not read its program: it finds
// nothing where ProtectHome stands before. Kind: Invalid.
func (u unit) hidden() error {
	if !u.System {
		return nil
	}
	for _, dir := range []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"} {
		if strings.HasPrefix(u.Program, dir+"/") {
			return errs.WithHint(errs.New(errs.Invalid, "the machine's service may not read %s, and so not %s", dir, u.Program),
				"install -m 755 %s /usr/local/bin/datamesh, and type the same with that", quoteWord(u.Program))
		}
	}
	return nil
}

func (u unit) text() (string, error) {
	for _, s := range []string{u.Program, u.Home, u.Bootstrap} {
		if strings.ContainsAny(s, "\n\r\x00") {
			return "", errs.New(errs.Invalid, "a unit cannot name %q", s)
		}
	}
	u.Mark = unitMark
	var b strings.Builder
	if err := unitText.Execute(&b, u); err != nil {
		return "", errs.New(errs.Other, "%s: %w", unitName, err)
	}
	return b.String(), nil
}
