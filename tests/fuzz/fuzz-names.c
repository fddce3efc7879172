/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of what people type: names, MAC addresses, sizes, versions, ids. What is accepted comes in one spelling that is accepted again. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "core/names.h"

static void check_mac(const char *text)
{
    char mac[MAC_LEN + 1], again[MAC_LEN + 1];
    struct err err = {""};
    int r = mac_parse(text, mac, &err);
    must(r == 0 || (r == -EINVAL && err.msg[0]));
    if (r == 0)
        must(strlen(mac) == MAC_LEN && mac_parse(mac, again, &err) == 0 && strcmp(mac, again) == 0);
}

static void check_size(const char *text)
{
    uint64_t bytes, again;
    char shown[32];
    struct err err = {""};
    int r = size_parse(text, &bytes, &err);
    must(r == 0 || (r == -EINVAL && err.msg[0]));
    if (r < 0)
        return;
    must(bytes < 1ULL << 63);
    (void)snprintf(shown, sizeof(shown), "%llu", (unsigned long long)bytes);
    must(size_parse(shown, &again, &err) == 0 && again == bytes);
    size_text(bytes, shown);
    must(strlen(shown) < sizeof(shown));
}

static void check_ref(const char *text)
{
    char name[NAME_LEN + 1];
    uint32_t version;
    struct err err = {""};
    int r = image_ref_parse(text, name, &version, &err);
    must(r == 0 || (r == -EINVAL && err.msg[0]));
    must(r < 0 || name_check(name, "image name", &err) == 0);
}

static void check_uuid(const char *text)
{
    unsigned char id[16], again[16];
    char shown[UUID_LEN + 1];
    if (uuid_decode(text, id) < 0)
        return;
    uuid_encode(id, shown);
    must(uuid_decode(shown, again) == 0 && memcmp(id, again, sizeof(id)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_free_ char *text = malloc(len + 1);
    struct err err = {""};
    must(text);
    memcpy(text, data, len);
    text[len] = 0;
    int r = name_check(text, "client name", &err);
    must(r == 0 ? strlen(text) <= NAME_LEN && text[0] : r == -EINVAL && err.msg[0]);
    check_mac(text);
    check_size(text);
    check_ref(text);
    check_uuid(text);
    must(name_compare(text, text) == 0);
    must((name_compare(text, "pc10") < 0) == (name_compare("pc10", text) > 0));
    return 0;
}
