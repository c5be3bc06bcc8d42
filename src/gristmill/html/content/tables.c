/* Rows of tables: one block of a row's cells, `a | b | c`, where the table is one of data and not a layout. */
#include "../parser.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of a cell: in any table; in one that looks like data; in one that says so by <th>, <thead> or <caption>. */
enum { PLAIN_CELL = 300, DATA_CELL = 1000, SAID_CELL = 4000, MOST_PARTS = 6 };

struct row {
    int32_t cells, filled, most;    /* cells; those with text; blocks of the fullest */
    uint32_t longest;               /* bytes of the longest cell */
    bool head, plain, whole, gutter; /* of <th>; a short block a cell; nothing between cells; line numbers and code */
};

bool gm_html_is_fostered(const struct node *node) {
    bool cell = node->tag == T_TD || node->tag == T_TH || node->tag == T_CAPTION;
    return node->fostered || (gm_tag_kind(node->tag) & OF_TABLE && !cell);
}

/* Foster parenting (§13.2.6.1). `moved[i]`: how many blocks before the table's i-th are moved. */
void gm_html_foster(struct page *page, int32_t table) {
    struct node *top = &page->nodes[table];
    const struct block *old = page->blocks + top->first;
    int32_t first = top->first, count = top->end - first, fostered = 0, late = 0;
    /* where there are too many elements, cells count as their rows */
    if (top->tag != T_TABLE || page->node_count >= gm_most_parts(page->size)) return;
    for (int32_t i = 0; i < count; i++)
        if (gm_html_is_fostered(&page->nodes[old[i].node])) late += i > fostered++;
    if (!late) return;
    struct block *blocks = malloc((size_t)count * sizeof *blocks);
    int32_t *moved = malloc((size_t)(count + 1) * sizeof *moved);
    if (blocks && moved) {
        moved[0] = 0;
        for (int32_t i = 0; i < count; i++) {
            const struct node *node = &page->nodes[old[i].node];
            bool moves = gm_html_is_fostered(node);
            struct block *block = &blocks[moves ? moved[i] : fostered + i - moved[i]];
            *block = old[i];
            if (moves && !node->fostered) block->node = top->parent;
            moved[i + 1] = moved[i] + moves;
        }
        memcpy(page->blocks + first, blocks, (size_t)count * sizeof *blocks);
        for (size_t i = (size_t)table;
             i < page->node_count && (i == (size_t)table || page->nodes[i].depth > top->depth); i++) {
            struct node *node = &page->nodes[i];
            int32_t from = node->first - first, to = node->end - first;
            node->first = first + (node->fostered ? moved[from] : fostered + from - moved[from]);
            node->end = first + (node->fostered ? moved[to] : fostered + to - moved[to]);
            if (node->fostered && !page->nodes[node->parent].fostered) node->parent = top->parent;
        }
    } else page->fault = FAULT_MEMORY;
    free(blocks), free(moved);
}

/* The cell of a row that follows, or -1. Elements are kept in the order of the page. */
static int32_t next_cell(const struct page *page, int32_t row, int32_t cell) {
    for (size_t i = (size_t)cell + 1; i < page->node_count && page->nodes[i].depth > page->nodes[row].depth; i++)
        if (page->nodes[i].parent == row) return (int32_t)i;
    return -1;
}

static bool is_numbers(const struct page *page, const struct block *block) {
    for (uint32_t i = 0; i < block->length; i++) {
        uint8_t byte = page->text.at[block->start + i];
        if (byte > ' ' && (uint8_t)(byte - '0') > 9) return false;
    }
    return block->pre;
}

static struct row look_at_row(const struct page *page, int32_t node) {
    struct row row = {.head = true, .plain = true, .whole = true};
    int32_t covered = 0;
    bool numbers = false;
    for (int32_t at = node; (at = next_cell(page, node, at)) >= 0; row.cells++) {
        const struct node *cell = &page->nodes[at];
        uint32_t length = 0;
        for (int32_t i = cell->first; i < cell->end; i++) {
            const struct block *block = &page->blocks[i];
            length += block->length;
            row.plain &= block->node == at && !block->pre;
            row.whole &= !block->gone && !block->row && !page->nodes[block->node].level;
        }
        int32_t parts = cell->end - cell->first;
        row.gutter = row.cells == 1 && numbers && parts == 1 && page->blocks[cell->first].pre;
        numbers = !row.cells && parts == 1 && is_numbers(page, &page->blocks[cell->first]);
        covered += parts;
        row.filled += parts > 0;
        row.plain &= parts < 2 && length <= PLAIN_CELL;
        row.head &= !parts || cell->tag == T_TH;
        row.whole &= cell->tag == T_TD || cell->tag == T_TH;
        if (parts > row.most) row.most = parts;
        if (length > row.longest) row.longest = length;
    }
    row.whole &= covered == page->nodes[node].end - page->nodes[node].first;
    return row;
}

/* Adds the text of a cell: one line, its pipes escaped (GitHub Flavored Markdown, §4.10), the lines of code apart. */
static bool add_cell(struct parser *parser, const struct block *block) {
    for (uint32_t i = 0; i < block->length; i++) { /* the text may move as it grows */
        uint8_t byte = parser->page->text.at[block->start + i];
        if (byte == '|' && !gm_html_put(parser, "\\", 1)) return false;
        const char *line = block->pre ? "<br>" : " ";
        if (byte == '\n' ? !gm_html_put(parser, line, strlen(line)) : !gm_html_put(parser, &byte, 1)) return false;
    }
    return true;
}

static void join_row(struct parser *parser, int32_t node, bool head) {
    struct page *page = parser->page;
    int32_t first = page->nodes[node].first;
    const struct block *begin = &page->blocks[first];
    struct block joined = {.start = (uint32_t)page->text.length, .node = node, .source = begin->source};
    joined.row = true, joined.head = head, joined.groups = begin->groups, joined.depth = gm_html_list_depth(parser);
    joined.list = parser->list >= 0 ? parser->stack[parser->list].list : 0;
    bool begun = false;
    for (int32_t cell = node; (cell = next_cell(page, node, cell)) >= 0; begun = true) {
        if (begun && !gm_html_put(parser, " | ", 3)) return;
        for (int32_t i = page->nodes[cell].first; i < page->nodes[cell].end; i++) {
            struct block *part = &page->blocks[i];
            if (i > page->nodes[cell].first && !gm_html_put(parser, " ", 1)) return;
            if (!add_cell(parser, part)) return;
            joined.linked += part->linked, joined.bold += part->bold, joined.markup += part->markup;
            joined.links = (uint16_t)(joined.links + part->links);
            joined.groups &= part->groups;
            part->gone = true;
        }
    }
    joined.length = (uint32_t)(page->text.length - joined.start);
    gm_html_measure(page->text.at + joined.start, &joined);
    page->blocks[first] = joined;
    parser->block.start = (uint32_t)page->text.length;
}

void gm_html_join_table(struct parser *parser, int32_t table) {
    struct page *page = parser->page;
    uint16_t depth = page->nodes[table].depth;
    if (page->nodes[table].tag != T_TABLE) return; /* there are too many elements */
    bool said = false, data = true, any = false;
    for (size_t i = (size_t)table + 1; i < page->node_count && page->nodes[i].depth > depth; i++) {
        const struct node *node = &page->nodes[i];
        said |= node->tag == T_TH || node->tag == T_THEAD || node->tag == T_CAPTION;
        data &= !node->level;
        if (node->tag != T_TR) continue;
        struct row row = look_at_row(page, (int32_t)i);
        data &= said || (row.longest <= DATA_CELL && row.most <= MOST_PARTS);
    }
    for (size_t i = (size_t)table + 1; i < page->node_count && page->nodes[i].depth > depth; i++) {
        if (page->nodes[i].tag != T_TR) continue;
        struct row row = look_at_row(page, (int32_t)i);
        if (row.whole && row.gutter) page->blocks[page->nodes[i].first].gone = true;
        if (!row.whole || row.gutter || !(row.plain || (data && row.longest <= SAID_CELL))) continue;
        if (row.filled < 2 && !(row.filled && any)) continue;
        join_row(parser, (int32_t)i, row.head);
        any = true;
    }
}
