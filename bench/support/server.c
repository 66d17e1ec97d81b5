/* The program inside the images of the bench: a web server, static, small and fast.
 *
 *   server              answers $TEXT on $PORT, $START_MS after its start; 500 to all but /healthz from request
 *                       number $TIRES on (0: never)
 *   server probe PATH   exit code 0 when PATH of it answers 2xx: a health check from within
 *
 * Told to stop, it takes no new connections, answers what was sent before, and ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 1024
#define FIRST 2 /* before the connections: the signal and the listener */

static struct pollfd polled[MOST];
static struct { char in[4096]; size_t length; } said[MOST];
static int count = FIRST, stopping;
static long served;

static const char *env(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in here(in_addr_t address) {
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    found.sin_port = htons(atoi(env("PORT", "8080")));
    return found;
}

static void drop(int i) {
    close(polled[i].fd);
    polled[i] = polled[--count];
    said[i] = said[count];
}

static int answer(int i, const char *request) {
    int health = !strncmp(request, "GET /healthz", 12);
    long tires = atol(env("TIRES", "0"));
    int bad = !health && tires && ++served >= tires, close = stopping || strcasestr(request, "connection: close");
    const char *text = env("TEXT", "none");
    char all[512];
    int size = snprintf(all, sizeof all, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s\n",
                        bad ? "500 Internal Server Error" : "200 OK", strlen(text) + 1,
                        close ? "Connection: close\r\n" : "", text);
    return send(polled[i].fd, all, size, MSG_NOSIGNAL) == size && !close;
}

/* Whether the connection stays. */
static int readable(int i) {
    ssize_t got = recv(polled[i].fd, said[i].in + said[i].length, sizeof said[i].in - said[i].length - 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 1;
    if (got <= 0) return 0;
    said[i].length += got;
    said[i].in[said[i].length] = 0;
    for (char *end; (end = strstr(said[i].in, "\r\n\r\n"));) {
        *end = 0;
        if (!answer(i, said[i].in)) return 0;
        said[i].length -= end + 4 - said[i].in;
        memmove(said[i].in, end + 4, said[i].length + 1);
    }
    return said[i].length < sizeof said[i].in - 1;
}

static void accept_all(void) {
    for (int fd; count < MOST && (fd = accept4(polled[1].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
        said[count++].length = 0;
    }
}

static int web(void) {
    struct sockaddr_in address = here(INADDR_ANY);
    sigset_t end;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);
    usleep(atoi(env("START_MS", "0")) * 1000);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) die("listen");
    polled[0] = (struct pollfd){.fd = signalfd(-1, &end, SFD_CLOEXEC), .events = POLLIN};
    polled[1] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (;;) {
        if (poll(polled, count, -1) < 0) continue;
        stopping = polled[0].revents & POLLIN;
        if (polled[1].revents) accept_all();
        for (int i = count - 1; i >= FIRST; i--)
            if ((polled[i].revents || stopping) && (!readable(i) || stopping)) drop(i);
        if (stopping) return 0;
    }
}

static int probe(const char *path) {
    struct sockaddr_in address = here(INADDR_LOOPBACK);
    char answered[16] = "", ask[512];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    int size = snprintf(ask, sizeof ask, "GET %s HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n", path);
    if (write(fd, ask, size) != size || read(fd, answered, sizeof answered - 1) < 12) die("answer");
    return answered[9] != '2';
}

int main(int words, char **word) {
    return words > 2 && !strcmp(word[1], "probe") ? probe(word[2]) : web();
}
