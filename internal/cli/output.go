package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"

	pretty "github.com/jedib0t/go-pretty/v6/table"
	style "github.com/jedib0t/go-pretty/v6/text"
)

// setColour allows colour on a terminal whose user did not refuse it.
func (a *app) setColour() {
	if terminal(a.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		style.EnableColors()
	} else {
		style.DisableColors()
	}
}

// rows prints an aligned pretty. Columns whose cells are all numbers stand to
// the right.
func (a *app) rows(header []string, rows [][]any) {
	w := pretty.NewWriter()
	w.SetOutputMirror(a.out)
	look := pretty.StyleDefault
	look.Options = pretty.OptionsNoBordersAndSeparators
	look.Box.PaddingLeft, look.Box.PaddingRight = "", "  "
	look.Format.Header = style.FormatUpper
	look.Color.Header = style.Colors{style.Bold}
	w.SetStyle(look)
	w.SuppressTrailingSpaces()
	head := make(pretty.Row, len(header))
	columns := make([]pretty.ColumnConfig, len(header))
	for i, h := range header {
		head[i] = h
		columns[i] = pretty.ColumnConfig{Number: i + 1}
		if len(rows) > 0 && isNumber(rows[0][i]) {
			columns[i].Align, columns[i].AlignHeader = style.AlignRight, style.AlignRight
		}
	}
	w.SetColumnConfigs(columns)
	w.AppendHeader(head)
	for _, r := range rows {
		row := make(pretty.Row, len(r))
		for i, cell := range r {
			row[i] = shown(cell)
		}
		w.AppendRow(row)
	}
	w.Render()
}

func isNumber(cell any) bool {
	switch cell.(type) {
	case int, int64, uint64, millis, right:
		return true
	}
	return false
}

// millis is a latency; right is text that stands to the right.
type (
	millis float64
	right  string
)

func shown(cell any) string {
	switch v := cell.(type) {
	case string:
		return printable(v)
	case int:
		return grouped(int64(v))
	case int64:
		return grouped(v)
	case uint64:
		return grouped(int64(v))
	case millis:
		return fmt.Sprintf("%.2f ms", float64(v))
	}
	return fmt.Sprint(cell)
}

// grouped writes thousands apart.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// printable keeps stored text from speaking to the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// printJSON prints v on one line.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printRaw prints JSON on one line, as it is but for white space.
func (a *app) printRaw(data []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := a.out.Write(b.Bytes())
	return err
}

func coloured(status string) string {
	switch status {
	case "healthy", "up":
		return style.FgGreen.Sprint(status)
	case "degraded", "probing", "starting":
		return style.FgYellow.Sprint(status)
	}
	return style.FgRed.Sprint(status)
}

// bytesShown writes a size for people.
func bytesShown(n int64) string {
	for _, u := range units[:4] {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
