// A plain main loop around the unit, as one writes it in C++: streams in arrays, ports poked by hand.
//
// Runs the script of a long run (sim/script.v) and its streams, of 64 bits, from the working directory,
// and writes what comes out to plain0.bin, with the number of the queue, in the recorder's format.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "Vsparseloom.h"
#include "verilated.h"

struct Beat {
    uint64_t data;
    uint16_t keep;
    uint8_t last, user;
};
constexpr size_t PLAYED = 11, RECORDED = 12;      // bytes of a beat in a file

static std::vector<Beat> load(const std::string &name) {
    std::vector<Beat> beats;
    FILE *file = fopen(name.c_str(), "rb");
    uint8_t record[PLAYED];
    while (file && fread(record, PLAYED, 1, file) == 1) {
        Beat beat{0, static_cast<uint16_t>(record[1] << 8 | record[2]), record[0], 0};
        for (size_t at = 3; at < PLAYED; ++at) beat.data = beat.data << 8 | record[at];
        beats.push_back(beat);
    }
    if (file) fclose(file);
    return beats;
}

class Loop {
public:
    Vsparseloom top;
    std::vector<Beat> weights, acts, results;
    size_t weight = 0, act = 0;
    uint32_t packets = 0;                          // of results that came
    bool answered = false, taken = false;          // a write; a read
    uint64_t cycles = 0;

    void cycle() {
        const bool weights_left = weight < weights.size(), acts_left = act < acts.size();
        top.s_axis_weights_tvalid = weights_left;
        if (weights_left) {
            top.s_axis_weights_tdata = weights[weight].data;
            top.s_axis_weights_tkeep = weights[weight].keep;
            top.s_axis_weights_tlast = weights[weight].last;
        }
        top.s_axis_acts_tvalid = acts_left;
        if (acts_left) {
            top.s_axis_acts_tdata = acts[act].data;
            top.s_axis_acts_tkeep = acts[act].keep;
            top.s_axis_acts_tlast = acts[act].last;
        }
        top.aclk = 0;
        top.eval();
        const bool weight_taken = weights_left && top.s_axis_weights_tready;
        const bool act_taken = acts_left && top.s_axis_acts_tready;
        const bool address_taken = top.s_axil_awvalid && top.s_axil_awready;
        const bool data_taken = top.s_axil_wvalid && top.s_axil_wready;
        const bool read_taken = top.s_axil_arvalid && top.s_axil_arready;
        answered = top.s_axil_bvalid;
        taken = top.s_axil_rvalid;
        if (top.m_axis_results_tvalid) {
            results.push_back({top.m_axis_results_tdata, top.m_axis_results_tkeep,
                               top.m_axis_results_tlast, top.m_axis_results_tuser});
            packets += top.m_axis_results_tlast;
        }
        top.aclk = 1;
        top.eval();
        weight += weight_taken;
        act += act_taken;
        if (address_taken) top.s_axil_awvalid = 0;
        if (data_taken) top.s_axil_wvalid = 0;
        if (read_taken) top.s_axil_arvalid = 0;
        ++cycles;
    }

    void write(uint32_t address, uint32_t value) {
        top.s_axil_awaddr = address;
        top.s_axil_wdata = value;
        top.s_axil_awvalid = top.s_axil_wvalid = 1;
        do cycle();
        while (!answered);
    }

    uint32_t read(uint32_t address) {
        top.s_axil_araddr = address;
        top.s_axil_arvalid = 1;
        do cycle();
        while (!taken);
        return top.s_axil_rdata;
    }

    void save(const std::string &name) {
        FILE *file = fopen(name.c_str(), "wb");
        for (const Beat &beat : results) {
            uint8_t record[RECORDED];
            memcpy(record, &beat.data, 8);
            memcpy(record + 8, &beat.keep, 2);
            record[10] = beat.last;
            record[11] = beat.user;
            fwrite(record, RECORDED, 1, file);
        }
        fclose(file);
    }
};

int main() {
    Loop loop;
    Vsparseloom &top = loop.top;
    top.s_axil_wstrb = 15;
    top.s_axil_bready = top.s_axil_rready = top.m_axis_results_tready = 1;
    top.aresetn = 0;
    for (int count = 0; count < 4; ++count) loop.cycle();
    top.aresetn = 1;
    FILE *script = fopen("script.txt", "r");
    char word[16];
    uint32_t first, second, number = 0, packets = 0;
    while (script && fscanf(script, "%15s %x %x", word, &first, &second) == 3) {
        const std::string step = word;
        if (step == "write") {
            loop.write(first, second);
        } else if (step == "until") {
            while (!(loop.read(first) & second)) {
            }
        } else if (step == "while") {
            while (loop.read(first) & second) {
            }
        } else if (step == "sleep") {
            while (first--) loop.cycle();
        } else if (step == "play") {
            number = first;
            packets = second;
            loop.weights = load("weights" + std::to_string(number) + ".bin");
            loop.acts = load("acts" + std::to_string(number) + ".bin");
            loop.results.clear();
            loop.weight = loop.act = loop.packets = 0;
        } else if (step == "done") {
            while (loop.packets < packets) loop.cycle();
        } else if (step == "stop") {
            loop.save("plain" + std::to_string(number) + ".bin");
        }
    }
    printf("%llu cycles\n", static_cast<unsigned long long>(loop.cycles));
    return script ? 0 : 1;
}
