// Tests of runtime/key, cache, cache_memory and safe_dir: publish and get, races between processes, damage, refused
// directories, fallback to memory, the request index. Those about owners and permissions run in a child process that
// gives up root where the test has it. SPDX-License-Identifier: Apache-2.0
#include "runtime_fixture.h"
#include "cache.h"
#include "cache_damaged.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#define KEY_A "00112233445566778899aabbccddeeff"
#define KEY_B "0011223344556677889900aabbccddee"
#define KEY_C "ff112233445566778899aabbccddeeff"

struct sample {
    char *meta;
    size_t meta_len;
    unsigned char cubin[5000];
};

static char directory[64];
static struct fixture_log log_lines;

static struct cache_files sample_files(sage_context *context, struct sample *sample) {
    for (size_t i = 0; i < sizeof sample->cubin; i++) sample->cubin[i] = (unsigned char)(i * 7 + 1);
    struct meta meta = fixture_meta("source text\n", "ptx text\n", sample->cubin, sizeof sample->cubin);
    assert_int_equal(meta_write(context, &meta, &sample->meta, &sample->meta_len), SAGE_OK);
    return (struct cache_files){.meta = {sample->meta, sample->meta_len},
                                .cubin = {sample->cubin, sizeof sample->cubin},
                                .source = {"source text\n", 12},
                                .ptx = {"ptx text\n", 9},
                                .log = {"log text\n", 9}};
}

static void put(sage_context *context, const char *key) {
    struct sample sample;
    struct cache_files files = sample_files(context, &sample);
    assert_int_equal(cache_put(context, key, &files), SAGE_OK);
    context_free(context, sample.meta);
}

static void expect_hit(sage_context *context, const char *key) {
    struct cache_entry entry;
    assert_int_equal(cache_get(context, key, CACHE_ALL, &entry), SAGE_OK);
    assert_int_equal(entry.files.cubin.bytes, 5000);
    assert_int_equal(((const unsigned char *)entry.files.cubin.data)[4999], (unsigned char)(4999 * 7 + 1));
    assert_string_equal(entry.files.source.data, "source text\n");
    assert_string_equal(entry.files.ptx.data, "ptx text\n");
    assert_string_equal(entry.files.log.data, "log text\n");
    assert_null(entry.files.map.data);
    cache_entry_free(context, &entry);
}

static void expect_miss(sage_context *context, const char *key) {
    struct cache_entry entry = {0};
    assert_int_equal(cache_get(context, key, CACHE_ALL, &entry), SAGE_ERROR_NOT_FOUND);
    assert_null(entry.files.cubin.data);
}

static void entry_path(char out[512], const char *key, const char *file) {
    snprintf(out, 512, "%s/%.2s/%s/%s", directory, key, key, file);
}

static int count_in(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    DIR *list = opendir(path);
    int count = 0;
    while (list && readdir(list)) count++;
    if (list) closedir(list);
    return count > 2 ? count - 2 : 0;
}

/* -- Keys -----------------------------------------------------------------------------------------------------------
 */

static void hashes(void **state) {
    (void)state;
    char text[KEY_BYTES], again[KEY_BYTES], text64[KEY_HEX64_BYTES];
    key_hash("", 0, text);
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f"); // XXH3-128 of nothing
    key_hash64("", 0, text64);
    assert_string_equal(text64, "2d06800538d394c2"); // XXH3-64 of nothing
    key_hash("a", 1, again);
    assert_string_not_equal(text, again);
    assert_true(key_is_valid(text));
    assert_false(key_is_valid(""));
    assert_false(key_is_valid("00112233445566778899aabbccddeefg"));
    assert_false(key_is_valid("00112233445566778899aabbccddeeff0"));
    assert_false(key_is_valid("../../../../../../../../etc/passw"));
}

/* -- Entries --------------------------------------------------------------------------------------------------------
 */

static void publish_and_get(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, &log_lines);
    expect_miss(context, KEY_A);
    put(context, KEY_A);
    expect_hit(context, KEY_A);
    put(context, KEY_A); // the loser of a race
    expect_hit(context, KEY_A);
    assert_int_equal(count_in("tmp"), 0);
    struct cache_entry entry;
    assert_int_equal(cache_get(context, KEY_A, 0, &entry), SAGE_OK);
    assert_null(entry.files.source.data);
    assert_non_null(entry.files.meta.data);
    cache_entry_free(context, &entry);
    struct stat info;
    char path[512];
    entry_path(path, KEY_A, "kernel.cubin");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    entry_path(path, KEY_A, "");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    struct cache_description description;
    cache_describe(context, &description);
    assert_false(description.memory_only);
    assert_string_equal(description.path, directory);
    assert_string_equal(description.reason, "");
    assert_int_equal(log_lines.count, 0);
    sage_context_destroy(context);
    context = fixture_context(directory, NULL);
    expect_hit(context, KEY_A);
    sage_context_destroy(context);
}

static void entries_are_checked_before_publishing(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, NULL);
    struct sample sample;
    struct cache_files files = sample_files(context, &sample);
    sample.cubin[17] ^= 1;
    assert_int_equal(cache_put(context, KEY_A, &files), SAGE_ERROR_INVALID_ARGUMENT);
    sample.cubin[17] ^= 1;
    assert_int_equal(cache_put(context, "not a key", &files), SAGE_ERROR_INVALID_ARGUMENT);
    files.meta.data = NULL;
    assert_int_equal(cache_put(context, KEY_A, &files), SAGE_ERROR_INVALID_ARGUMENT);
    context_free(context, sample.meta);
    expect_miss(context, KEY_A);
    sage_context_destroy(context);
}

static bool visit_key(void *user, const char *key) {
    strcat(user, key);
    return true;
}

static void list_and_remove(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, NULL);
    put(context, KEY_C);
    put(context, KEY_A);
    put(context, KEY_B);
    char keys[4 * KEY_BYTES] = "";
    assert_int_equal(cache_each(context, visit_key, keys), SAGE_OK);
    assert_string_equal(keys, KEY_B KEY_A KEY_C);
    assert_int_equal(cache_remove(context, KEY_A), SAGE_OK);
    assert_int_equal(cache_remove(context, KEY_A), SAGE_ERROR_NOT_FOUND);
    expect_miss(context, KEY_A);
    expect_hit(context, KEY_B);
    sage_context_destroy(context);
}

/* -- Races ----------------------------------------------------------------------------------------------------------
 */

static int racing_process(void) {
    sage_options options = {.size = sizeof options, .device = -1, .cache_dir = directory};
    sage_context *context = NULL;
    if (sage_context_create(&options, &context) != SAGE_OK) return 1;
    struct sample sample;
    struct cache_files files = sample_files(context, &sample);
    int failures = 0;
    for (int i = 0; i < 40; i++) {
        char key[KEY_BYTES];
        snprintf(key, sizeof key, "%032x", i);
        struct cache_entry entry;
        sage_status status = cache_get(context, key, CACHE_ALL, &entry);
        if (status == SAGE_OK)
            cache_entry_free(context, &entry);
        else if (status != SAGE_ERROR_NOT_FOUND)
            failures++;
        if (cache_put(context, key, &files) != SAGE_OK) failures++;
        if (cache_index_put(context, KEY_A, key) != SAGE_OK) failures++;
        if (cache_get(context, key, CACHE_ALL, &entry) == SAGE_OK)
            cache_entry_free(context, &entry);
        else
            failures++;
        char found[KEY_BYTES];
        if (cache_index_get(context, KEY_A, found) != SAGE_OK) failures++;
    }
    context_free(context, sample.meta);
    sage_context_destroy(context);
    return failures;
}

static void eight_processes_put_the_same_keys(void **state) {
    (void)state;
    pid_t child[8];
    for (int i = 0; i < 8; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) _exit(racing_process());
    }
    for (int i = 0; i < 8; i++) {
        int status = -1;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(count_in("tmp"), 0);
    assert_int_equal(count_in("damaged"), 0);
    assert_int_equal(count_in("00"), 40);
}

static void *racing_thread(void *user) {
    sage_context *context = user;
    struct sample sample;
    struct cache_files files = sample_files(context, &sample);
    for (int i = 0; i < 40; i++) {
        char key[KEY_BYTES];
        snprintf(key, sizeof key, "%032x", i);
        if (cache_put(context, key, &files) != SAGE_OK) abort();
    }
    context_free(context, sample.meta);
    return NULL;
}

static void threads_share_a_context(void **state) {
    (void)state;
    const char *const dirs[] = {directory, NULL};
    for (int i = 0; i < 2; i++) {
        sage_context *context = fixture_context(dirs[i], NULL);
        pthread_t thread[4];
        for (int j = 0; j < 4; j++) assert_int_equal(pthread_create(&thread[j], NULL, racing_thread, context), 0);
        for (int j = 0; j < 4; j++) pthread_join(thread[j], NULL);
        expect_hit(context, "00000000000000000000000000000027");
        sage_context_destroy(context);
    }
}

static void what_killed_processes_leave_is_swept(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, NULL);
    put(context, KEY_A);
    char path[512];
    snprintf(path, sizeof path, "%s/tmp/t0123456789abcdef", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    fixture_write(path, "kernel.cu", "half", 4);
    put(context, KEY_B);
    assert_int_equal(count_in("tmp"), 1); // may be another process at work
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    put(context, KEY_C);
    assert_int_equal(count_in("tmp"), 0);
    sage_context_destroy(context);
}

/* -- Damage ---------------------------------------------------------------------------------------------------------
 */

static void truncate_file(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size / 2), 0);
}

static void flip_bit(const char *path) {
    int file = open(path, O_RDWR);
    assert_true(file >= 0);
    char byte;
    assert_int_equal(pread(file, &byte, 1, 5), 1);
    byte ^= 4;
    assert_int_equal(pwrite(file, &byte, 1, 5), 1);
    close(file);
}

static void remove_file(const char *path) {
    assert_int_equal(unlink(path), 0);
}

static void replace_by_link(const char *path) {
    char target[600];
    snprintf(target, sizeof target, "%s.real", path);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
}

static void replace_by_pipe(const char *path) {
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void open_to_others(const char *path) {
    assert_int_equal(chmod(path, 0666), 0);
}

static void damaged_entries_are_rebuilt(void **state) {
    (void)state;
    void (*const damages[])(const char *) = {truncate_file,   flip_bit,        remove_file,
                                             replace_by_link, replace_by_pipe, open_to_others};
    const char *const files[] = {"kernel.cubin", "kernel.meta"};
    sage_context *context = fixture_context(directory, &log_lines);
    int damaged = 0;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        for (size_t j = 0; j < sizeof files / sizeof *files; j++) {
            char path[512];
            put(context, KEY_A);
            entry_path(path, KEY_A, files[j]);
            damages[i](path);
            expect_miss(context, KEY_A);
            assert_int_equal(count_in("damaged"), ++damaged);
            assert_int_equal(log_lines.count, damaged);
            put(context, KEY_A);
            expect_hit(context, KEY_A);
        }
    }
    char path[512];
    entry_path(path, KEY_A, "kernel.ptx");
    flip_bit(path);
    expect_miss(context, KEY_A);
    sage_context_destroy(context);
}

static bool is_in_damaged(int i) {
    char path[512], key[KEY_BYTES];
    snprintf(key, sizeof key, "%032x", i);
    snprintf(path, sizeof path, "%s/damaged", directory);
    DIR *list = opendir(path);
    assert_non_null(list);
    bool found = false;
    for (const struct dirent *entry = readdir(list); entry && !found; entry = readdir(list))
        found = strncmp(entry->d_name, key, KEY_BYTES - 1) == 0;
    closedir(list);
    return found;
}

// The first one is a link: what it points to is not ours to remove. Nor is what somebody else put into damaged/.
static void the_newest_damaged_entries_are_kept(void **state) {
    (void)state;
    enum { KEPT = 16, ALL = 40, FOREIGN = 3 };
    sage_context *context = fixture_context(directory, NULL);
    char path[512], target[64], key[KEY_BYTES];
    fixture_directory(target);
    fixture_write(target, "kernel.cubin", "precious", 8);
    for (int i = 0; i < ALL; i++) {
        snprintf(key, sizeof key, "%032x", i);
        put(context, key);
        entry_path(path, key, i % 2 ? "kernel.cubin" : "kernel.meta");
        flip_bit(path);
        if (i == 0) {
            *strrchr(path, '/') = '\0';
            char real[520];
            snprintf(real, sizeof real, "%s.real", path);
            assert_int_equal(rename(path, real), 0);
            assert_int_equal(symlink(target, path), 0);
        }
        expect_miss(context, key);
        for (int k = 0; k <= i; k++) assert_int_equal(is_in_damaged(k), k > i - KEPT);
        assert_int_equal(count_in("damaged"), (i < KEPT ? i + 1 : KEPT) + (i > 0 ? FOREIGN : 0));
        if (i > 0) continue;
        snprintf(path, sizeof path, "%s/damaged", directory);
        fixture_write(path, "notes", "mine", 4);
        fixture_write(path, KEY_A, "mine", 4);
        strcat(path, "/" KEY_A "-0123456789abcdef.old");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(path, sizeof path, "%s/kernel.cubin", target);
    assert_int_equal(access(path, F_OK), 0);
    sage_context_destroy(context);
    fixture_remove_tree(target);
}

static void odd_things_in_the_place_of_an_entry(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, NULL);
    char path[512], moved[520];
    put(context, KEY_A);
    entry_path(path, KEY_A, "");
    path[strlen(path) - 1] = 0;
    snprintf(moved, sizeof moved, "%s.moved", path);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(symlink(moved, path), 0);
    expect_miss(context, KEY_A); // a link to an entry is not followed
    put(context, KEY_A);
    expect_hit(context, KEY_A);
    assert_int_equal(chmod(path, 0777), 0);
    expect_miss(context, KEY_A);
    put(context, KEY_A);
    expect_hit(context, KEY_A);
    fixture_write(directory, "ff", "file where a directory belongs", 30);
    expect_miss(context, KEY_C);
    put(context, KEY_C); // kept in memory
    expect_hit(context, KEY_C);
    sage_context_destroy(context);
}

// Two processes read the same damaged entry; one of them has already put a good one in its place.
static void a_good_entry_is_not_moved_aside(void **state) {
    (void)state;
    char path[512];
    struct stat damaged;
    sage_context *context = fixture_context(directory, &log_lines);
    put(context, KEY_A);
    entry_path(path, KEY_A, "");
    assert_int_equal(stat(path, &damaged), 0);
    assert_int_equal(cache_remove(context, KEY_A), SAGE_OK);
    put(context, KEY_B); // takes the inode, where it is given again at once
    put(context, KEY_A);
    const struct safe_policy policy = {.forbidden_mode = 022};
    struct safe_why why;
    int root = safe_dir_open(AT_FDCWD, directory, policy, &why), shard = safe_dir_open(root, "00", policy, &why);
    assert_false(cache_damaged_take(root, policy, shard, KEY_A, &damaged, "0123456789abcdef"));
    assert_int_equal(count_in("damaged"), 0);
    expect_hit(context, KEY_A);
    close(shard);
    close(root);
    sage_context_destroy(context);
}

static void links_in_the_place_of_directories_are_refused(void **state) {
    (void)state;
    const char *const names[] = {"tmp", "00", "index"};
    char path[512], target[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fixture_directory(target);
        sage_context *context = fixture_context(directory, NULL);
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        assert_int_equal(symlink(target, path), 0);
        put(context, KEY_A); // kept in memory, or beside the link
        expect_hit(context, KEY_A);
        char key[KEY_BYTES];
        assert_int_equal(cache_index_put(context, KEY_A, KEY_A), SAGE_OK);
        assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_OK);
        assert_int_equal(rmdir(target), 0); // nothing was written through the link
        sage_context_destroy(context);
        fixture_remove_tree(directory);
        assert_int_equal(mkdir(directory, 0700), 0);
    }
}

/* -- Directories ----------------------------------------------------------------------------------------------------
 */

static void expect_memory_only(const char *dir, const char *reason) {
    sage_context *context = fixture_context(dir, NULL);
    struct cache_description description;
    cache_describe(context, &description);
    assert_true(description.memory_only);
    assert_non_null(strstr(description.reason, reason));
    put(context, KEY_A);
    expect_hit(context, KEY_A);
    char key[KEY_BYTES];
    assert_int_equal(cache_index_put(context, KEY_B, KEY_A), SAGE_OK);
    assert_int_equal(cache_index_get(context, KEY_B, key), SAGE_OK);
    assert_string_equal(key, KEY_A);
    assert_int_equal(cache_remove(context, KEY_A), SAGE_OK);
    expect_miss(context, KEY_A);
    sage_context_destroy(context);
}

static void unsafe_directories_are_refused(void **state) {
    (void)state;
    assert_int_equal(chmod(directory, 0777), 0);
    expect_memory_only(directory, "written by others (mode 0777)");
    assert_int_equal(chmod(directory, 0770), 0);
    expect_memory_only(directory, "written by others (mode 0770)");
    sage_options options = {.size = sizeof options, .device = -1, .cache_dir = directory, .trust_shared_cache = 1};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    put(context, KEY_A);
    expect_hit(context, KEY_A);
    struct cache_description description;
    cache_describe(context, &description);
    assert_false(description.memory_only);
    sage_context_destroy(context);
    assert_int_equal(chmod(directory, 0700), 0);

    char link[80];
    snprintf(link, sizeof link, "%s_link", directory);
    assert_int_equal(symlink(directory, link), 0);
    expect_memory_only(link, "symbolic link");
    assert_int_equal(unlink(link), 0);
    fixture_write(directory, "file", "x", 1);
    char path[512];
    snprintf(path, sizeof path, "%s/file", directory);
    expect_memory_only(path, "Not a directory");
    snprintf(path, sizeof path, "%s/file/below", directory);
    expect_memory_only(path, "Not a directory");
    expect_memory_only(NULL, "memory_only");
}

static void another_owner_is_refused(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    assert_int_equal(chown(directory, 12345, 12345), 0);
    expect_memory_only(directory, "belongs to user 12345");
    assert_int_equal(chown(directory, 0, 0), 0);
}

static int read_only_child(void) {
    sage_options options = {.size = sizeof options, .device = -1, .cache_dir = directory};
    sage_context *context = NULL;
    struct cache_description description;
    struct cache_entry entry;
    struct sample sample;
    if (sage_context_create(&options, &context) != SAGE_OK) return 1;
    cache_describe(context, &description);
    if (!description.memory_only || !strstr(description.reason, "cannot be written")) return 2;
    if (cache_get(context, KEY_A, CACHE_ALL, &entry) != SAGE_OK) return 3; // what is there is used
    cache_entry_free(context, &entry);
    struct cache_files files = sample_files(context, &sample);
    if (cache_put(context, KEY_B, &files) != SAGE_OK) return 4;
    context_free(context, sample.meta);
    if (cache_get(context, KEY_B, CACHE_ALL, &entry) != SAGE_OK) return 5;
    cache_entry_free(context, &entry);
    sage_context_destroy(context);
    return 0;
}

// As an ordinary user, since the permission bits do not bind root.
static int run_as_user(int (*run)(void)) {
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(12345) || setuid(12345))) _exit(99);
        _exit(run());
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int chown_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info, (void)kind, (void)ftw;
    return geteuid() == 0 ? lchown(path, 12345, 12345) : 0;
}

static void read_only_directory_is_read(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, NULL);
    put(context, KEY_A);
    sage_context_destroy(context);
    assert_int_equal(nftw(directory, chown_one, 16, FTW_PHYS), 0);
    assert_int_equal(chmod(directory, 0500), 0);
    assert_int_equal(run_as_user(read_only_child), 0);
    assert_int_equal(chmod(directory, 0700), 0);
}

static void directories_come_from_the_environment(void **state) {
    (void)state;
    const char *const names[] = {"SAGE_CACHE_DIR", "XDG_CACHE_HOME", "HOME"};
    const char *const expected[] = {"", "/sagegen", "/.cache/sagegen"};
    char *old_home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    for (int i = 0; i < 3; i++) {
        char base[80], path[120];
        for (int j = 0; j < 3; j++) unsetenv(names[j]);
        snprintf(base, sizeof base, "%s/new/%d", directory, i);
        snprintf(path, sizeof path, "%s%s", base, expected[i]);
        setenv(names[i], base, 1);
        sage_options options = {.size = sizeof options, .device = -1};
        sage_context *context = NULL;
        assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
        struct cache_description description;
        cache_describe(context, &description);
        assert_string_equal(description.path, path);
        assert_false(description.memory_only);
        sage_context_destroy(context);
    }
    for (int j = 0; j < 3; j++) unsetenv(names[j]);
    setenv("XDG_CACHE_HOME", "relative/ignored", 1);
    sage_options options = {.size = sizeof options, .device = -1};
    sage_context *context = NULL;
    assert_int_equal(sage_context_create(&options, &context), SAGE_OK);
    struct cache_description description;
    cache_describe(context, &description);
    assert_true(description.memory_only);
    assert_non_null(strstr(description.reason, "HOME"));
    sage_context_destroy(context);
    unsetenv("XDG_CACHE_HOME");
    if (old_home) setenv("HOME", old_home, 1);
    free(old_home);
}

/* -- Collection -----------------------------------------------------------------------------------------------------
 */

static void set_age(const char *key, long long seconds) {
    char path[512];
    entry_path(path, key, "");
    const struct timespec then = {.tv_sec = time(NULL) - seconds}, both[2] = {then, then};
    assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
}

static struct cache_collected collect(sage_context *context, long long idle_seconds, uint64_t bytes) {
    const struct cache_limits limits = {.idle_seconds = idle_seconds, .bytes = bytes};
    struct cache_collected done;
    assert_int_equal(cache_collect(context, &limits, &done), SAGE_OK);
    return done;
}

static void collection_goes_by_use(void **state) {
    (void)state;
    const long long day = 24 * 3600;
    sage_context *context = fixture_context(directory, NULL);
    put(context, KEY_A);
    put(context, KEY_B);
    put(context, KEY_C);
    set_age(KEY_A, 100 * day);
    set_age(KEY_B, 100 * day);
    set_age(KEY_C, 50 * day);
    expect_hit(context, KEY_B); // used now
    struct cache_collected done = collect(context, 90 * day, UINT64_MAX);
    assert_int_equal(done.entries, 1);
    assert_int_equal(done.kept, 2);
    assert_true(done.bytes > 5000 && done.kept_bytes == 2 * done.bytes);
    expect_miss(context, KEY_A);
    set_age(KEY_C, 50 * day);
    set_age(KEY_B, 49 * day);
    done = collect(context, 90 * day, done.kept_bytes - 1); // one too many: the one unused for longer goes
    assert_int_equal(done.entries, 1);
    expect_miss(context, KEY_C);
    expect_hit(context, KEY_B);
    assert_int_equal(collect(context, 90 * day, 0).kept, 0);
    expect_miss(context, KEY_B);
    assert_int_equal(count_in("tmp"), 0);
    put(context, KEY_B);
    expect_hit(context, KEY_B);
    sage_context_destroy(context);
}

static void collection_removes_what_nobody_can_use(void **state) {
    (void)state;
    char path[512];
    sage_context *context = fixture_context(directory, &log_lines);
    put(context, KEY_A);
    put(context, KEY_B);
    entry_path(path, KEY_B, "kernel.cubin");
    flip_bit(path);
    expect_miss(context, KEY_B);
    assert_int_equal(count_in("damaged"), 1);
    assert_int_equal(cache_index_put(context, KEY_A, KEY_A), SAGE_OK);
    assert_int_equal(cache_index_put(context, KEY_B, KEY_B), SAGE_OK); // its entry is gone
    assert_int_equal(cache_index_put(context, KEY_C, KEY_A), SAGE_OK);
    snprintf(path, sizeof path, "%s/index/ff/%s", directory, KEY_C);
    flip_bit(path);
    snprintf(path, sizeof path, "%s/tmp/x0123456789abcdef", directory); // of a removal that was killed
    assert_int_equal(mkdir(path, 0700), 0);
    struct cache_collected done = collect(context, 1000, UINT64_MAX);
    assert_int_equal(done.entries, 0);
    assert_int_equal(done.damaged, 1);
    assert_int_equal(done.lines, 2);
    assert_int_equal(count_in("damaged"), 0);
    assert_int_equal(count_in("tmp"), 0);
    char key[KEY_BYTES];
    assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_OK);
    expect_hit(context, KEY_A);
    sage_context_destroy(context);
    context = fixture_context(NULL, NULL);
    const struct cache_limits limits = {0};
    assert_int_equal(cache_collect(context, &limits, &done), SAGE_ERROR_CACHE);
    sage_context_destroy(context);
}

// Entries, and leftovers, from a time that has not come yet.
static void the_clock_may_go_backwards(void **state) {
    (void)state;
    const long long year = 365LL * 24 * 3600;
    char path[512];
    struct stat info;
    sage_context *context = fixture_context(directory, NULL);
    put(context, KEY_A);
    put(context, KEY_B);
    set_age(KEY_A, -10 * year);
    set_age(KEY_B, -3600);
    assert_int_equal(collect(context, 10, UINT64_MAX).entries, 0);
    expect_hit(context, KEY_A);
    entry_path(path, KEY_A, "");
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_mtime <= time(NULL)); // it ages from now on
    expect_hit(context, KEY_B);
    snprintf(path, sizeof path, "%s/tmp/t0123456789abcdef", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    const struct timespec future = {.tv_sec = time(NULL) + year}, both[2] = {future, future};
    assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
    put(context, KEY_C);
    assert_int_equal(count_in("tmp"), 0);
    sage_context_destroy(context);
}

/* -- Request index --------------------------------------------------------------------------------------------------
 */

static void the_index_is_only_a_hint(void **state) {
    (void)state;
    sage_context *context = fixture_context(directory, NULL);
    char key[KEY_BYTES] = "untouched", path[512], other[512];
    assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_ERROR_NOT_FOUND);
    assert_int_equal(cache_index_put(context, KEY_A, KEY_C), SAGE_OK);
    assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_OK);
    assert_string_equal(key, KEY_C);
    assert_int_equal(cache_index_put(context, KEY_A, KEY_B), SAGE_OK); // replaced
    assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_OK);
    assert_string_equal(key, KEY_B);
    expect_miss(context, key); // the entry does not exist
    snprintf(path, sizeof path, "%s/index/00/%s", directory, KEY_A);
    snprintf(other, sizeof other, "%s/index/00/%s", directory, KEY_B);
    assert_int_equal(rename(path, other), 0); // the line of another request
    strcpy(key, "untouched");
    assert_int_equal(cache_index_get(context, KEY_B, key), SAGE_ERROR_NOT_FOUND);
    assert_int_equal(cache_index_put(context, KEY_A, KEY_B), SAGE_OK);
    flip_bit(path);
    assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_ERROR_NOT_FOUND);
    assert_int_equal(cache_index_put(context, KEY_A, KEY_B), SAGE_OK);
    truncate_file(path);
    assert_int_equal(cache_index_get(context, KEY_A, key), SAGE_ERROR_NOT_FOUND);
    assert_string_equal(key, "untouched");
    assert_int_equal(cache_index_get(context, "nonsense", key), SAGE_ERROR_NOT_FOUND);
    assert_int_equal(cache_index_put(context, KEY_A, "nonsense"), SAGE_ERROR_INVALID_ARGUMENT);
    assert_int_equal(count_in("tmp"), 0);
    sage_context_destroy(context);
}

static int make_directory(void **state) {
    (void)state;
    fixture_directory(directory);
    memset(&log_lines, 0, sizeof log_lines);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    fixture_remove_tree(directory);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(hashes),
        TEST(publish_and_get),
        TEST(entries_are_checked_before_publishing),
        TEST(list_and_remove),
        TEST(eight_processes_put_the_same_keys),
        TEST(threads_share_a_context),
        TEST(what_killed_processes_leave_is_swept),
        TEST(damaged_entries_are_rebuilt),
        TEST(the_newest_damaged_entries_are_kept),
        TEST(odd_things_in_the_place_of_an_entry),
        TEST(a_good_entry_is_not_moved_aside),
        TEST(links_in_the_place_of_directories_are_refused),
        TEST(collection_goes_by_use),
        TEST(collection_removes_what_nobody_can_use),
        TEST(the_clock_may_go_backwards),
        TEST(unsafe_directories_are_refused),
        TEST(another_owner_is_refused),
        TEST(read_only_directory_is_read),
        TEST(directories_come_from_the_environment),
        TEST(the_index_is_only_a_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
