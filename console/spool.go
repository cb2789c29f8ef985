// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package console

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/spool"
)

// spooled is what the page of kept messages shows.
type spooled struct {
	Spools   []spool.Status
	Messages []spool.Message
	// More says that there are more messages than are shown.
	More int
}

func showSpool(v *visit) error {
	s := spooled{Spools: spool.Statuses()}
	var next string
	if s.Messages, next = spool.List(spool.Filter{Limit: maxRows}); next != "" {
		for i := range s.Spools {
			s.More += s.Spools[i].Messages
		}
		s.More = max(s.More-len(s.Messages), 1)
	}
	return v.show(http.StatusOK, "spool", "spool", "Kept to be sent later", s)
}

// steerings are what can be done to a kept message.
var steerings = map[string]struct {
	do  func(id string) error
	did string
}{
	"hold":    {spool.Hold, "kept message held"},
	"release": {spool.Release, "kept message released"},
	"delete":  {spool.Delete, "kept message deleted"},
}

type spoolButton struct{ What, Label string }

// spoolButtons are what can be done to a message in that state, and undone.
func spoolButtons(state string) []spoolButton {
	list := []spoolButton{{"release", "Send now"}, {"hold", "Hold"}}
	switch state {
	case "sending":
		return nil
	case "held":
		return list[:1]
	}
	return list
}

func steerSpool(v *visit) error {
	s, ok := steerings[v.r.PathValue("what")]
	if !ok {
		return refuse(http.StatusNotFound, "There is no such page.")
	}
	id := v.r.PathValue("id")
	m, err := spool.Get(id)
	if err == nil {
		err = s.do(id)
	}
	switch {
	case errors.Is(err, spool.ErrNotFound):
		return refuse(http.StatusNotFound, "The message is no longer kept: it was sent, refused or deleted meanwhile.")
	case errors.Is(err, spool.ErrBusy):
		return refuse(http.StatusConflict, "The message is being sent at this moment. Look again in a minute.")
	case err != nil:
		return err
	}
	v.did(s.did, zap.String("message", id), zap.String("account", m.Account))
	return v.leave("spool")
}
