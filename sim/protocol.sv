// Rules of the unit's ports, as assertions: AXI4-Stream, AXI4-Lite, and what ties results to jobs. Each
// bench binds them to its unit; a broken rule ends the simulation with its name.
//
// Rules of AXI4-Stream: Arm IHI 0051B, 2.2; of AXI4-Lite: Arm IHI 0022H.c, A3 and B1.

// One channel with TVALID and TREADY: what is offered stays as it is until it is taken.
module channel_rules #(
    parameter BITS = 1
) (
    input wire            aclk,
    input wire            aresetn,
    input wire            valid,
    input wire            ready,
    input wire [BITS-1:0] payload
);
    reg held;
    reg [BITS-1:0] payload_q;
    initial held = 0;
    always @(posedge aclk) begin
        held <= aresetn & valid & ~ready;
        if (valid) payload_q <= payload;
        if (aresetn & held) begin
            valid_stays: assert (valid) else $error("an offer was withdrawn");
            payload_stable: assert (~valid | payload == payload_q) else $error("an offer changed");
        end
    end
endmodule

// AXI4-Lite: one answer for each request, in time; none without a request.
module axi_lite_rules #(
    parameter MOST_CYCLES = 32              // from a request to its answer
) (
    input wire        aclk,
    input wire        aresetn,
    input wire [7:0]  awaddr,
    input wire [2:0]  awprot,
    input wire        awvalid,
    input wire        awready,
    input wire [31:0] wdata,
    input wire [3:0]  wstrb,
    input wire        wvalid,
    input wire        wready,
    input wire [1:0]  bresp,
    input wire        bvalid,
    input wire        bready,
    input wire [7:0]  araddr,
    input wire [2:0]  arprot,
    input wire        arvalid,
    input wire        arready,
    input wire [31:0] rdata,
    input wire [1:0]  rresp,
    input wire        rvalid,
    input wire        rready
);
    channel_rules #(.BITS(11)) aw (.aclk(aclk), .aresetn(aresetn), .valid(awvalid), .ready(awready),
                                   .payload({awprot, awaddr}));
    channel_rules #(.BITS(36)) w (.aclk(aclk), .aresetn(aresetn), .valid(wvalid), .ready(wready),
                                  .payload({wstrb, wdata}));
    channel_rules #(.BITS(2)) b (.aclk(aclk), .aresetn(aresetn), .valid(bvalid), .ready(bready),
                                 .payload(bresp));
    channel_rules #(.BITS(11)) ar (.aclk(aclk), .aresetn(aresetn), .valid(arvalid), .ready(arready),
                                   .payload({arprot, araddr}));
    channel_rules #(.BITS(34)) r (.aclk(aclk), .aresetn(aresetn), .valid(rvalid), .ready(rready),
                                  .payload({rresp, rdata}));

    // Requests taken and not answered.
    reg [7:0] addresses, words, reads, write_age, read_age;
    reg in_reset;
    initial begin {addresses, words, reads, write_age, read_age} = 0; in_reset = 1; end
    always @(posedge aclk) begin
        in_reset <= ~aresetn;
        addresses <= addresses + (awvalid & awready) - (bvalid & bready);
        words <= words + (wvalid & wready) - (bvalid & bready);
        reads <= reads + (arvalid & arready) - (rvalid & rready);
        write_age <= bvalid | addresses == 0 | words == 0 ? 0 : write_age + 1;
        read_age <= rvalid | reads == 0 ? 0 : read_age + 1;
        if (~aresetn) {addresses, words, reads, write_age, read_age} <= 0;
        if (aresetn) begin
            write_asked: assert (~bvalid | (addresses != 0 & words != 0))
                else $error("an answer to no write");
            read_asked: assert (~rvalid | reads != 0) else $error("an answer to no read");
            write_answered: assert (write_age < MOST_CYCLES) else $error("no answer to a write");
            read_answered: assert (read_age < MOST_CYCLES) else $error("no answer to a read");
            response_code: assert ((~bvalid | bresp != 1) & (~rvalid | rresp != 1))
                else $error("EXOKAY, which AXI4-Lite does not know");
        end
        if (in_reset) silent: assert (~bvalid & ~rvalid) else $error("an answer in reset");
    end
endmodule

// The ports of a unit.
//
// A job is outstanding from the answer to its JOB_PUSH until the last beat of its results. Counts need
// no knowledge of the build: of a job of K inputs and N outputs, the bytes of results are those of the
// activations, times N (raw: 4 N), by K.
module protocol #(
    parameter BUS_BYTES = 8
) (
    input wire                   aclk,
    input wire                   aresetn,
    input wire [7:0]             s_axil_awaddr,
    input wire [2:0]             s_axil_awprot,
    input wire                   s_axil_awvalid,
    input wire                   s_axil_awready,
    input wire [31:0]            s_axil_wdata,
    input wire [3:0]             s_axil_wstrb,
    input wire                   s_axil_wvalid,
    input wire                   s_axil_wready,
    input wire [1:0]             s_axil_bresp,
    input wire                   s_axil_bvalid,
    input wire                   s_axil_bready,
    input wire [7:0]             s_axil_araddr,
    input wire [2:0]             s_axil_arprot,
    input wire                   s_axil_arvalid,
    input wire                   s_axil_arready,
    input wire [31:0]            s_axil_rdata,
    input wire [1:0]             s_axil_rresp,
    input wire                   s_axil_rvalid,
    input wire                   s_axil_rready,
    input wire [8*BUS_BYTES-1:0] s_axis_weights_tdata,
    input wire [BUS_BYTES-1:0]   s_axis_weights_tkeep,
    input wire                   s_axis_weights_tlast,
    input wire                   s_axis_weights_tvalid,
    input wire                   s_axis_weights_tready,
    input wire [8*BUS_BYTES-1:0] s_axis_acts_tdata,
    input wire [BUS_BYTES-1:0]   s_axis_acts_tkeep,
    input wire                   s_axis_acts_tlast,
    input wire                   s_axis_acts_tvalid,
    input wire                   s_axis_acts_tready,
    input wire [8*BUS_BYTES-1:0] m_axis_results_tdata,
    input wire [BUS_BYTES-1:0]   m_axis_results_tkeep,
    input wire                   m_axis_results_tlast,
    input wire                   m_axis_results_tuser,
    input wire                   m_axis_results_tvalid,
    input wire                   m_axis_results_tready
);
    localparam CONTROL = 8'h1C, JOB_SHAPE = 8'h20, JOB_CONFIG = 8'h28, JOB_PUSH = 8'h2C;
    localparam PLACES = 32;                 // more jobs than a unit holds, those on their way out too
    localparam QUIET = 16;                  // cycles without a beat after which a clear sends none

    channel_rules #(.BITS(9*BUS_BYTES+1)) weights (
        .aclk(aclk), .aresetn(aresetn), .valid(s_axis_weights_tvalid),
        .ready(s_axis_weights_tready),
        .payload({s_axis_weights_tlast, s_axis_weights_tkeep, s_axis_weights_tdata}));
    channel_rules #(.BITS(9*BUS_BYTES+1)) acts (
        .aclk(aclk), .aresetn(aresetn), .valid(s_axis_acts_tvalid), .ready(s_axis_acts_tready),
        .payload({s_axis_acts_tlast, s_axis_acts_tkeep, s_axis_acts_tdata}));
    channel_rules #(.BITS(9*BUS_BYTES+2)) results (
        .aclk(aclk), .aresetn(aresetn), .valid(m_axis_results_tvalid),
        .ready(m_axis_results_tready),
        .payload({m_axis_results_tuser, m_axis_results_tlast, m_axis_results_tkeep,
                  m_axis_results_tdata}));
    axi_lite_rules registers (
        .aclk(aclk), .aresetn(aresetn), .awaddr(s_axil_awaddr), .awprot(s_axil_awprot),
        .awvalid(s_axil_awvalid), .awready(s_axil_awready), .wdata(s_axil_wdata),
        .wstrb(s_axil_wstrb), .wvalid(s_axil_wvalid), .wready(s_axil_wready),
        .bresp(s_axil_bresp), .bvalid(s_axil_bvalid), .bready(s_axil_bready),
        .araddr(s_axil_araddr), .arprot(s_axil_arprot), .arvalid(s_axil_arvalid),
        .arready(s_axil_arready), .rdata(s_axil_rdata), .rresp(s_axil_rresp),
        .rvalid(s_axil_rvalid), .rready(s_axil_rready));

    // Writes as they are answered: addresses and words in the order of their taking.
    reg [7:0] address [0:3];
    reg [31:0] word [0:3];
    reg [3:0] strobes [0:3];
    reg [1:0] address_in, word_in, answer_out;
    reg answered;                           // the answer offered was looked at
    reg [31:0] shape, config_;

    // Jobs outstanding, and the bytes of activations that came for them, in order.
    reg [31:0] jobs [0:PLACES-1];           // N and K
    reg raw [0:PLACES-1];
    reg [31:0] act_bytes [0:PLACES-1];
    reg [4:0] job_in, job_out, acts_in;
    reg [5:0] outstanding;
    reg dropping;                           // an error or a clear: nothing but the end may come
    reg [31:0] taken_acts, taken_results;   // bytes of the packets under way
    reg [7:0] quiet;
    reg weights_open, acts_open, results_open, in_reset;

    wire act_beat = s_axis_acts_tvalid & s_axis_acts_tready;
    wire weight_beat = s_axis_weights_tvalid & s_axis_weights_tready;
    wire result_beat = m_axis_results_tvalid & m_axis_results_tready;
    wire [BUS_BYTES:0] keep_next = {1'b0, m_axis_results_tkeep} + 1;
    wire ends = result_beat & m_axis_results_tlast;

    // Of this cycle.
    reg written, pushed;
    reg [7:0] offset;
    reg [31:0] data, mask, acts_now, results_now;
    reg [63:0] due, found;

    task automatic forget;
        {address_in, word_in, answer_out, answered, shape, config_} = 0;
        {job_in, job_out, acts_in, outstanding, dropping} = 0;
        {taken_acts, taken_results, quiet, weights_open, acts_open, results_open} = 0;
    endtask
    initial begin forget; in_reset = 1; end

    always @(posedge aclk) begin
        if (in_reset) silent: assert (~m_axis_results_tvalid) else $error("a result beat in reset");
        if (aresetn & m_axis_results_tvalid) begin
            job_there: assert (outstanding != 0) else $error("a result beat without a job");
            keep_whole: assert (m_axis_results_tlast | &m_axis_results_tkeep)
                else $error("a short beat before the last");
            keep_gaps: assert (m_axis_results_tkeep[0] & ~|({1'b0, m_axis_results_tkeep} & keep_next))
                else $error("gaps in TKEEP");
            user_last: assert (~m_axis_results_tuser | m_axis_results_tlast)
                else $error("TUSER without TLAST");
            user_byte: assert (~m_axis_results_tuser | m_axis_results_tkeep == 1)
                else $error("a closing beat of more than a byte");
        end
        acts_now = taken_acts + $countones(s_axis_acts_tkeep);
        results_now = taken_results + $countones(m_axis_results_tkeep);
        if (aresetn & ends & ~m_axis_results_tuser) begin
            due = act_bytes[job_out] * jobs[job_out][31:16] * (raw[job_out] ? 4 : 1);
            found = results_now * jobs[job_out][15:0];
            acts_there: assert (job_out != acts_in)
                else $error("results before their last activation");
            count_exact: assert (found == due)
                else $error("a job's results have another count of bytes");
        end
        if (aresetn & weight_beat & ~weights_open)
            weights_job: assert (outstanding != 0) else $error("weights taken without a job");
        if (aresetn & act_beat & ~acts_open)
            acts_job: assert (outstanding != 0) else $error("activations taken without a job");
        places: assert (outstanding < PLACES) else $error("more jobs outstanding than any unit holds");

        // What passed in this cycle; of a job's end and a push, the end first.
        if (weight_beat) weights_open = ~s_axis_weights_tlast;
        if (act_beat) begin
            acts_open = ~s_axis_acts_tlast;
            taken_acts = s_axis_acts_tlast ? 0 : acts_now;
            if (s_axis_acts_tlast) begin act_bytes[acts_in] = acts_now; acts_in = acts_in + 1; end
        end
        if (result_beat) begin
            results_open = ~m_axis_results_tlast;
            taken_results = m_axis_results_tlast ? 0 : results_now;
        end
        if (ends & outstanding != 0) begin
            job_out = job_out + 1;
            outstanding = outstanding - 1;
            if (m_axis_results_tuser) begin outstanding = 0; dropping = 1; end
        end

        written = s_axil_bvalid & ~answered & s_axil_bresp == 0 & |strobes[answer_out];
        offset = address[answer_out];
        data = word[answer_out];
        mask = {{8{strobes[answer_out][3]}}, {8{strobes[answer_out][2]}},
                {8{strobes[answer_out][1]}}, {8{strobes[answer_out][0]}}};
        pushed = written & offset == JOB_PUSH;
        if (written & offset == CONTROL & data[0] & mask[0]) begin dropping = 1; quiet = 0; end
        quiet = m_axis_results_tvalid | results_open ? 0 : quiet + (quiet != QUIET);
        if (dropping & quiet == QUIET) outstanding = 0;
        if (pushed) begin
            if (dropping) begin job_in = 0; job_out = 0; acts_in = 0; outstanding = 0; end
            dropping = 0;
            jobs[job_in] = shape;
            raw[job_in] = config_[8];
            job_in = job_in + 1;
            outstanding = outstanding + 1;
        end
        if (written & offset == JOB_SHAPE) shape = (shape & ~mask) | (data & mask);
        if (written & offset == JOB_CONFIG) config_ = (config_ & ~mask) | (data & mask);

        answered = s_axil_bvalid & ~s_axil_bready;
        if (s_axil_bvalid & s_axil_bready) answer_out = answer_out + 1;
        if (s_axil_awvalid & s_axil_awready) begin
            address[address_in] = s_axil_awaddr;
            address_in = address_in + 1;
        end
        if (s_axil_wvalid & s_axil_wready) begin
            word[word_in] = s_axil_wdata;
            strobes[word_in] = s_axil_wstrb;
            word_in = word_in + 1;
        end
        in_reset = ~aresetn;
        if (~aresetn) forget;
    end
endmodule
