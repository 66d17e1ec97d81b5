/* The program inside the images of these tests: a web server and a worker, static, small and fast.
 *
 *   server web [PORT]       answers with its text, its generation and the image it came in
 *   server worker           handles the messages of $SPOOL, each once
 *   server probe PATH       exit code 0 when PATH answers 2xx: a health check from within
 *
 * Configuration is $LASTGOOD_CONFIG/app.conf, lines of "key = value"; environment variables of the same name
 * in capitals stand behind it, so that an image can be broken by itself. What goes wrong is "behaviour":
 *
 *   exit       ends at once                        exit_later  ends after 3 s
 *   deaf       never listens                       hungry      eats memory from its first real request on
 *   broken     500 to everything                   greedy      eats memory before it listens
 *   lies       500 to everything but /healthz      unhealthy   500 to /healthz
 *   tires      500 to everything but /healthz from its hundredth real request on
 *
 * "slow_ms" delays each page. /poll?ms=N answers after N ms, /stream says a line each 100 ms for ever.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 4096
#define EATEN_AT_ONCE (4 << 20)
#define GOOD_FOR 100

static struct { char text[64], behaviour[32]; int slow_ms; } config;
static const char *generation, *image;

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static const char *env(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void read_config(void) {
    char path[512], line[512], key[64], value[256];
    snprintf(config.text, sizeof config.text, "%s", env("TEXT", "none"));
    snprintf(config.behaviour, sizeof config.behaviour, "%s", env("BEHAVIOUR", ""));
    config.slow_ms = atoi(env("SLOW_MS", "0"));
    generation = env("LASTGOOD_GENERATION", "-");
    image = env("IMAGE", "-");
    snprintf(path, sizeof path, "%s/app.conf", env("LASTGOOD_CONFIG", "/etc/lastgood"));
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        value[0] = 0;
        if (sscanf(line, " %63[a-z_] = %255[^\n]", key, value) < 1) continue;
        if (!strcmp(key, "text")) snprintf(config.text, sizeof config.text, "%s", value);
        if (!strcmp(key, "slow_ms")) config.slow_ms = atoi(value);
        if (!strcmp(key, "behaviour") && value[0]) snprintf(config.behaviour, sizeof config.behaviour, "%s", value);
    }
    if (file) fclose(file);
}

static int is(const char *behaviour) { return !strcmp(config.behaviour, behaviour); }

static int signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* web ------------------------------------------------------------------------------------------------------ */

struct connection {
    char in[8192];
    size_t length;
    long long due;      /* when the answer that is waited for is sent, 0: none is */
    int open, streams, closing;
    char path[256];
} *connections[CONNECTIONS];

static int poller, listener = -1, stopping, open_count, waiting_count, served;
static long long eats_from;

static void close_connection(int fd) {
    if (connections[fd]->due) waiting_count--;
    connections[fd]->open = 0;
    close(fd);
    open_count--;
}

static void say(int fd, const char *data, size_t length) {
    /* Answers are small: they fit into the socket's buffer, or the peer is gone. */
    if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) connections[fd]->closing = 1;
}

static void answer(int fd) {
    struct connection *c = connections[fd];
    int health = !strncmp(c->path, "/healthz", 8);
    int bad = is("broken") || (health ? is("unhealthy") : is("lies") || (is("tires") && ++served >= GOOD_FOR));
    char body[256], all[1024];
    int size = snprintf(body, sizeof body, "%s %s %s\n", bad ? "broken" : health ? "ok" : config.text, generation, image);
    if (stopping) c->closing = 1;
    int total = snprintf(all, sizeof all, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s",
                         bad ? "500 Internal Server Error" : "200 OK", size, c->closing ? "Connection: close\r\n" : "", body);
    if (bad && !health) {
        /* What careless programs do: the secret lands in the log. */
        printf("failed with %s\n", env("TOKEN", "-"));
        fflush(stdout);
    }
    say(fd, all, total);
}

static void stream(int fd) {
    static const char *begin = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    if (!connections[fd]->streams) say(fd, begin, strlen(begin));
    connections[fd]->streams = 1;
    char line[128];
    say(fd, line, snprintf(line, sizeof line, "%s %s\n", config.text, generation));
}

static void wait_for(int fd, int ms) {
    if (!connections[fd]->due) waiting_count++;
    connections[fd]->due = now_ms() + ms;
}

static void requests(int fd) {
    struct connection *c = connections[fd];
    char *end;
    while (c->open && !c->due && (end = memmem(c->in, c->length, "\r\n\r\n", 4))) {
        *end = 0;
        if (sscanf(c->in, "%*s %255s", c->path) != 1) c->closing = 1;
        size_t used = end + 4 - c->in;
        c->length -= used;
        if (strcasestr(c->in, "connection: close")) c->closing = 1;
        memmove(c->in, c->in + used, c->length);
        int health = !strncmp(c->path, "/healthz", 8);
        if (!health && is("hungry") && !eats_from) eats_from = now_ms();
        if (!strncmp(c->path, "/stream", 7)) { stream(fd); wait_for(fd, 100); }
        else if (!strncmp(c->path, "/poll?ms=", 9)) wait_for(fd, atoi(c->path + 9));
        else if (config.slow_ms && !health) wait_for(fd, config.slow_ms);
        else answer(fd);
        if (c->open && c->closing && !c->due) close_connection(fd);
    }
    if (c->open && c->length == sizeof c->in) close_connection(fd);
}

static void readable(int fd) {
    struct connection *c = connections[fd];
    ssize_t got = recv(fd, c->in + c->length, sizeof c->in - c->length, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) { close_connection(fd); return; }
    if (got > 0) { c->length += got; requests(fd); }
}

static void due(void) {
    long long now = now_ms();
    for (int fd = 0; waiting_count && fd < CONNECTIONS; fd++) {
        struct connection *c = connections[fd];
        if (!c || !c->open || !c->due || c->due > now) continue;
        c->due = 0;
        waiting_count--;
        if (c->streams || !strncmp(c->path, "/stream", 7)) { stream(fd); if (!c->closing) wait_for(fd, 100); }
        else answer(fd);
        if (c->closing) close_connection(fd);
        else requests(fd);
    }
}

static void accept_all(void) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= CONNECTIONS) { close(fd); continue; }
        if (!connections[fd] && !(connections[fd] = malloc(sizeof **connections))) die("malloc");
        struct connection *c = connections[fd];
        c->length = c->due = c->streams = c->closing = 0;
        c->open = 1;
        open_count++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static void stop(void) {
    /* No new connections; who waits for nothing is told goodbye; open requests are finished. */
    stopping = 1;
    printf("stopping, %d open requests\n", waiting_count);
    fflush(stdout);
    if (listener >= 0) { accept_all(); close(listener); listener = -1; }
    for (int fd = 0; fd < CONNECTIONS; fd++)
        if (connections[fd] && connections[fd]->open && !connections[fd]->due && !connections[fd]->length) {
            readable(fd);  /* what was sent before we said goodbye is still answered */
            if (connections[fd]->open && !connections[fd]->due) close_connection(fd);
        }
}

static void eat(void) {
    volatile char *memory = malloc(EATEN_AT_ONCE);
    for (size_t i = 0; memory && i < EATEN_AT_ONCE; i += 1024) memory[i] = 1;
}

static void listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    int one = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
}

static int web(int port) {
    int term = signals();
    long long ends = is("exit_later") ? now_ms() + 3000 : 0;
    if (is("exit")) { fprintf(stderr, "this image ends at once\n"); return 3; }
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = term}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, term, &event);
    while (is("greedy")) eat();
    if (!is("deaf")) listen_on(port);
    printf("%s %s listens on %d\n", config.text, generation, port);
    fflush(stdout);
    while (!stopping || waiting_count) {
        int count = epoll_wait(poller, ready, 256, waiting_count || ends || eats_from ? 5 : -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == term) { struct signalfd_siginfo told; if (read(term, &told, sizeof told) > 0) stop(); }
            else if (fd == listener) accept_all();
            else if (fd < CONNECTIONS && connections[fd] && connections[fd]->open) readable(fd);
        }
        due();
        if (stopping)  /* a stream ends only when somebody ends it: the grace is for requests */
            for (int fd = 0; fd < CONNECTIONS; fd++)
                if (connections[fd] && connections[fd]->open && connections[fd]->streams) close_connection(fd);
        if (eats_from) eat();
        if (ends && now_ms() >= ends) { fprintf(stderr, "this image ends after 3 s\n"); return 4; }
    }
    return 0;
}

/* worker --------------------------------------------------------------------------------------------------- */

static char spool[256], self[256];

static void write_file(const char *path, const char *content) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, content, strlen(content)) < 0) die(path);
    close(fd);
}

static int each(const char *place, int (*handle)(const char *, int), int term) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", spool, place);
    DIR *directory = opendir(path);
    int found = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.') found += handle(entry->d_name, term);
    if (directory) closedir(directory);
    return found;
}

static int requeue(const char *name, int term) {
    /* Left half done by a worker that was killed. It is only safe because no other one runs. */
    char from[600], to[600];
    (void)term;
    snprintf(from, sizeof from, "%s/taken/%s", spool, name);
    snprintf(to, sizeof to, "%s/in/%s", spool, name);
    return rename(from, to) == 0;
}

static int handle(const char *name, int term) {
    char from[600], to[600], done[600], line[512];
    struct timespec began, ended, pause = {0, atoi(env("HANDLE_MS", "2")) * 1000000L};
    struct signalfd_siginfo told;
    if (read(term, &told, sizeof told) > 0) exit(0);
    snprintf(from, sizeof from, "%s/in/%s", spool, name);
    snprintf(to, sizeof to, "%s/taken/%s", spool, name);
    snprintf(done, sizeof done, "%s/done/%s", spool, name);
    if (rename(from, to)) return 0;  /* another one was faster */
    clock_gettime(CLOCK_REALTIME, &began);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_REALTIME, &ended);
    snprintf(line, sizeof line, "%s %lld %lld\n", self, began.tv_sec * 1000000LL + began.tv_nsec / 1000,
             ended.tv_sec * 1000000LL + ended.tv_nsec / 1000);
    write_file(done, line);
    unlink(to);
    return 1;
}

static int worker(void) {
    int term = signals();
    struct signalfd_siginfo told;
    struct timespec pause = {0, 5000000L};
    char path[300];
    if (is("exit")) { fprintf(stderr, "this image ends at once\n"); return 3; }
    snprintf(spool, sizeof spool, "%s", env("SPOOL", "/spool"));
    snprintf(self, sizeof self, "%s/%s", generation, env("LASTGOOD_INSTANCE", "0"));
    snprintf(path, sizeof path, "%s/lock", spool);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0) die(path);
    if (flock(lock, LOCK_EX | LOCK_NB)) {
        /* Told and not mended: two of them at once is what must never be. */
        snprintf(path, sizeof path, "%s/double", spool);
        write_file(path, self);
    }
    each("work", requeue, term);
    printf("%s %s works\n", config.text, generation);
    fflush(stdout);
    for (;;) {
        if (read(term, &told, sizeof told) > 0) return 0;
        if (!each("in", handle, term)) nanosleep(&pause, NULL);
    }
}

/* probe ---------------------------------------------------------------------------------------------------- */

static int probe(int port, const char *path) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char said[64] = "", ask[512];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    int size = snprintf(ask, sizeof ask, "GET %s HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n", path);
    if (write(fd, ask, size) != size || read(fd, said, sizeof said - 1) < 12) die("answer");
    printf("%.15s\n", said);
    return said[9] == '2' ? 0 : 1;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "web";
    if (!strcmp(what, "probe") && count > 2) return probe(atoi(env("PORT", "8080")), words[2]);
    read_config();
    if (!strcmp(what, "worker")) return worker();
    return web(atoi(count > 2 ? words[2] : env("PORT", "8080")));
}
