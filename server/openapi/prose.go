package openapi

import "strings"

// A block is one piece of a description: a heading, a paragraph, a numbered
// list or code. Exactly one field is set. Descriptions use this much of
// Markdown and no more.
type block struct {
	Heading   string
	Paragraph []span
	List      [][]span
	Code      string
}

// Anchor is the name by which a link reaches the heading.
func (b block) Anchor() string { return strings.ReplaceAll(strings.ToLower(b.Heading), " ", "-") }

// A span is text inside a block, code or not.
type span struct {
	Text string
	Code bool
}

// parseProse reads a description.
func parseProse(text string) []block {
	var blocks []block
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		switch {
		case strings.TrimSpace(line) == "":
			i++
		case strings.HasPrefix(line, "## "):
			blocks = append(blocks, block{Heading: line[3:]})
			i++
		case line == "```":
			end := i + 1
			for end < len(lines) && lines[end] != "```" {
				end++
			}
			blocks = append(blocks, block{Code: strings.Join(lines[i+1:end], "\n")})
			i = end + 1
		case isNumbered(line):
			var items [][]span
			for ; i < len(lines) && isNumbered(lines[i]); i++ {
				_, item, _ := strings.Cut(lines[i], ". ")
				items = append(items, parseInline(item))
			}
			blocks = append(blocks, block{List: items})
		default:
			end := i + 1
			for end < len(lines) && strings.TrimSpace(lines[end]) != "" {
				end++
			}
			blocks = append(blocks, block{Paragraph: parseInline(strings.Join(lines[i:end], " "))})
			i = end
		}
	}
	return blocks
}

// parseInline cuts a line at its backquotes.
func parseInline(text string) []span {
	var spans []span
	for i, part := range strings.Split(text, "`") {
		if part != "" {
			spans = append(spans, span{Text: part, Code: i%2 == 1})
		}
	}
	return spans
}

func isNumbered(line string) bool {
	number, _, ok := strings.Cut(line, ". ")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}
