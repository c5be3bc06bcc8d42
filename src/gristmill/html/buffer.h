/* Bytes that grow. */
#ifndef GRISTMILL_HTML_BUFFER_H
#define GRISTMILL_HTML_BUFFER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    uint8_t *at;
    size_t length, capacity;
};

/* Makes room for so many bytes more; whether there was memory. */
static inline bool gm_buffer_grow(struct buffer *buffer, size_t length) {
    if (buffer->capacity - buffer->length >= length) return true;
    size_t capacity = buffer->capacity * 2 + length + 1024;
    uint8_t *grown = realloc(buffer->at, capacity);
    if (!grown) return false;
    buffer->at = grown, buffer->capacity = capacity;
    return true;
}

static inline bool gm_buffer_add(struct buffer *buffer, const void *bytes, size_t length) {
    if (!gm_buffer_grow(buffer, length)) return false;
    if (length) memcpy(buffer->at + buffer->length, bytes, length);
    buffer->length += length;
    return true;
}

#endif
