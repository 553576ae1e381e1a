// Main program of a simulator that is kept alive: takes queues of jobs from a pipe, plays each on the
// unit, and answers with its results. server.py is the other end and knows what registers mean.
//
//   bench IN OUT BUS_BYTES        numbers of two open files, and the bytes of a beat
//
// All numbers are 32 bits, little-endian. A queue comes as
//
//   MAGIC jobs early wait limit gaps seed before after
//   before times   offset value                     written first
//   of each job    writes, so many times offset and value, push, bytes of weights and activations
//   after times    offset                           read last
//   of each job    its weights, its activations
//
// and goes as one RESULTS record for each packet and one END record:
//
//   RESULTS job user bytes data
//   END outcome job pushed cycles(64 bits) left(weights) left(acts) got after, then of each read its value
//       and of each job that was pushed the cycle in which that took effect
//
// `early` jobs are pushed before the first beat, `wait` cycles later beats are offered, the other jobs are
// pushed as there is a place. `limit` is the number of cycles after which, without a beat on any stream, the
// unit is taken to hang. `gaps` are pauses of the weights, activations and results in 256ths, lowest byte
// first. `cycles` are those from the first activation beat to the last result beat, both included; cycle 0
// of a push is the first in which beats may be offered. After anything but DONE the unit is reset.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <unistd.h>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr uint32_t MAGIC = 0x31514C53, RESULTS = 1, END = 2;
constexpr uint32_t DONE = 0, VOID = 1, STUCK = 2, REFUSED = 3;
constexpr uint32_t ANSWER_CYCLES = 64;  // in which the register bus must answer
constexpr int RESET_CYCLES = 4;

int in_file, out_file;
size_t bus_bytes;

bool read_all(void *to, size_t size) {
    for (auto *at = static_cast<uint8_t *>(to); size;) {
        const ssize_t got = read(in_file, at, size);
        if (got <= 0) return false;
        at += got;
        size -= got;
    }
    return true;
}

void write_all(const void *from, size_t size) {
    for (auto *at = static_cast<const uint8_t *>(from); size;) {
        const ssize_t put = write(out_file, at, size);
        if (put <= 0) std::exit(1);  // nobody listens
        at += put;
        size -= put;
    }
}

std::vector<uint32_t> read_words(size_t count) {
    std::vector<uint32_t> words(count);
    if (!read_all(words.data(), 4 * count)) std::exit(1);
    return words;
}

struct Access {
    bool write;
    uint32_t offset, value;
    bool again;  // until it is taken: a push
};

struct Job {
    std::vector<Access> describe;
    std::vector<uint8_t> weights, acts;
};

struct Queue {
    uint32_t early, wait, limit, gaps, seed;
    std::vector<Access> before, after;
    std::vector<Job> jobs;
};

// What offers packets on one port: a beat that is offered stays until it is taken.
struct Player {
    std::vector<const std::vector<uint8_t> *> packets;
    size_t packet = 0, at = 0, size = 0;
    bool valid = false;

    bool more() const { return packet < packets.size(); }
    uint32_t left() const {
        size_t bytes = 0;
        for (size_t i = packet; i < packets.size(); ++i) bytes += packets[i]->size();
        return bytes - (more() ? at : 0);
    }
    template <class Data, class Keep, class Last>
    void offer(Data &data, Keep &keep, Last &last, bool pause) {
        while (more() && packets[packet]->empty()) ++packet;
        if (valid || pause || !more()) return;
        const auto &bytes = *packets[packet];
        size = std::min(bus_bytes, bytes.size() - at);
        std::memset(&data, 0, sizeof data);
        std::memcpy(&data, bytes.data() + at, size);
        keep = (1u << size) - 1;
        last = at + size == bytes.size();
        valid = true;
    }
    void taken() {
        valid = false;
        at += size;
        if (at == packets[packet]->size()) {
            ++packet;
            at = 0;
        }
    }
};

class Server {
public:
    Server() : context(new VerilatedContext), top(new Vtop(context.get(), "")) { reset(); }

    void play(const Queue &queue);

private:
    const std::unique_ptr<VerilatedContext> context;
    const std::unique_ptr<Vtop> top;
    uint64_t cycle = 0;

    Player weights, acts;
    std::vector<uint8_t> results;
    uint32_t gaps = 0, random = 1;
    bool playing = false;
    uint32_t received = 0;       // whole packets
    bool is_void = false;
    uint64_t first = 0, last = 0, moved = 0;
    bool begun = false;

    // The access under way.
    bool sent_address = false, sent_data = false, waiting = false, answered = false;
    uint32_t answer = 0, response = 0;

    void reset() {
        top->aresetn = 0;
        top->awvalid = top->wvalid = top->arvalid = 0;
        weights = acts = Player();
        playing = waiting = false;
        for (int i = 0; i < RESET_CYCLES; ++i) tick();
        top->aresetn = 1;
        tick();
    }
    void tick();
    bool access(const Access &one);
    bool push(const Queue &queue, uint32_t &pushed);
    std::vector<uint64_t> pushes;
};

// A cycle: what is driven settles with the clock low, is looked at, and is taken at its rise.
void Server::tick() {
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    const auto pause = [this](int stream) {
        return (random >> 8 * stream & 255) < (gaps >> 8 * stream & 255);
    };
    if (playing) {
        weights.offer(top->weights_tdata, top->weights_tkeep, top->weights_tlast, pause(0));
        acts.offer(top->acts_tdata, top->acts_tkeep, top->acts_tlast, pause(1));
    }
    top->weights_tvalid = weights.valid;
    top->acts_tvalid = acts.valid;
    top->results_tready = playing && !pause(2);
    if (waiting) {
        top->awvalid = top->awvalid && !sent_address;
        top->wvalid = top->wvalid && !sent_data;
        top->arvalid = top->arvalid && !sent_address;
    }
    top->aclk = 0;
    top->eval();
    const bool weight = top->weights_tvalid && top->weights_tready;
    const bool act = top->acts_tvalid && top->acts_tready;
    const bool result = top->results_tvalid && top->results_tready;
    if (weight) weights.taken();
    if (act) {
        acts.taken();
        if (!begun) first = cycle;
        begun = true;
    }
    bool ended = false;
    if (result) {
        const auto *data = reinterpret_cast<const uint8_t *>(&top->results_tdata);
        for (size_t i = 0; i < bus_bytes; ++i)
            if (top->results_tkeep >> i & 1) results.push_back(data[i]);
        if (top->results_tlast) {
            ended = true;
            last = cycle;
            is_void |= top->results_tuser;
        }
    }
    if (weight || act || result) moved = cycle;
    if (waiting) {
        sent_address |= (top->awvalid && top->awready) || (top->arvalid && top->arready);
        sent_data |= top->wvalid && top->wready;
        if (top->bvalid || top->rvalid) {
            answered = true;
            response = top->bvalid ? top->bresp : top->rresp;
            answer = top->rdata;
        }
    }
    top->aclk = 1;
    top->eval();
    context->timeInc(10);
    ++cycle;
    if (ended) {
        const uint32_t head[] = {RESULTS, received++, is_void, uint32_t(results.size())};
        write_all(head, sizeof head);
        write_all(results.data(), results.size());
        results.clear();
    }
}

// One access of a register; false if the bus did not answer in time.
bool Server::access(const Access &one) {
    top->awaddr = top->araddr = one.offset;
    top->wdata = one.value;
    top->awvalid = top->wvalid = one.write;
    top->arvalid = !one.write;
    sent_address = sent_data = answered = false;
    waiting = true;
    for (uint32_t i = 0; i < ANSWER_CYCLES && !answered; ++i) tick();
    waiting = false;
    top->awvalid = top->wvalid = top->arvalid = 0;
    return answered;
}

// Describe and push the next job; false if the unit refuses what it may not refuse.
bool Server::push(const Queue &queue, uint32_t &pushed) {
    for (const Access &one : queue.jobs[pushed].describe) {
        do {
            if (!access(one) || (response && !one.again)) return false;
        } while (response && !is_void && cycle - moved < queue.limit);
    }
    ++pushed;
    pushes.push_back(cycle - 2);  // it is answered a cycle later, and this cycle is over
    return true;
}

void Server::play(const Queue &queue) {
    const uint32_t count = queue.jobs.size();
    for (const Job &job : queue.jobs) {
        weights.packets.push_back(&job.weights);
        acts.packets.push_back(&job.acts);
    }
    gaps = queue.gaps;
    random = queue.seed;
    pushes.clear();
    received = 0;
    is_void = begun = false;
    uint32_t pushed = 0, outcome = DONE;
    bool good = true;
    moved = cycle;
    for (const Access &one : queue.before) good = good && access(one) && !response;
    while (good && pushed < std::min(queue.early, count)) good = push(queue, pushed);
    for (uint32_t i = 0; i < queue.wait; ++i) tick();
    playing = true;
    const uint64_t start = moved = cycle;
    while (good && pushed < count && !is_void && cycle - moved < queue.limit)
        good = push(queue, pushed);
    while (good && received < count && !is_void && cycle - moved < queue.limit) tick();
    if (!good) outcome = REFUSED;
    else if (is_void) outcome = VOID;
    else if (received < count) outcome = STUCK;
    const uint32_t got = results.size();
    playing = outcome == DONE;  // nothing moves while the registers are read
    std::vector<uint32_t> values;
    for (const Access &one : queue.after) values.push_back(access(one) ? answer : ~0u);
    const uint64_t cycles = begun ? last - first + 1 : 0;
    const uint32_t tail[] = {END, outcome, received, pushed, uint32_t(cycles),
                             uint32_t(cycles >> 32), weights.left(), acts.left(), got,
                             uint32_t(values.size())};
    if (outcome == DONE) {
        playing = false;
        weights = acts = Player();
    } else {
        results.clear();
        reset();
    }
    write_all(tail, sizeof tail);
    write_all(values.data(), 4 * values.size());
    for (const uint64_t one : pushes) {
        const int32_t at = one - start;
        write_all(&at, sizeof at);
    }
}

std::vector<Access> read_accesses(size_t count, bool write) {
    std::vector<Access> found;
    const auto words = read_words(count * (write ? 2 : 1));
    for (size_t i = 0; i < count; ++i)
        found.push_back(write ? Access{true, words[2 * i], words[2 * i + 1], false}
                              : Access{false, words[i], 0, false});
    return found;
}

bool read_queue(Queue &queue) {
    uint32_t magic;
    if (!read_all(&magic, 4)) return false;
    if (magic != MAGIC) std::exit(2);
    const auto head = read_words(8);
    queue = Queue{head[1], head[2], head[3], head[4], head[5], {}, {}, {}};
    queue.before = read_accesses(head[6], true);
    std::vector<std::pair<uint32_t, uint32_t>> sizes;
    for (uint32_t i = 0; i < head[0]; ++i) {
        Job job;
        job.describe = read_accesses(read_words(1)[0], true);
        const auto words = read_words(3);
        job.describe.push_back(Access{true, words[0], 0, true});
        sizes.emplace_back(words[1], words[2]);
        queue.jobs.push_back(std::move(job));
    }
    queue.after = read_accesses(head[7], false);
    for (uint32_t i = 0; i < head[0]; ++i) {
        queue.jobs[i].weights.resize(sizes[i].first);
        queue.jobs[i].acts.resize(sizes[i].second);
        if (!read_all(queue.jobs[i].weights.data(), sizes[i].first) ||
            !read_all(queue.jobs[i].acts.data(), sizes[i].second))
            return false;
    }
    return true;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    in_file = std::atoi(argv[1]);
    out_file = std::atoi(argv[2]);
    bus_bytes = std::atoi(argv[3]);
    Server server;
    for (Queue queue; read_queue(queue);) server.play(queue);
    return 0;
}
