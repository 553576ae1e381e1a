// Ends of the streams in a bench: what offers beats from a file, what writes them to one, and both for
// all three streams of a unit.

// Offers the beats of a file, FILE with the number behind it. A beat that is offered stays until it is
// taken.
module player #(
    parameter BUS_BYTES = 8,
    parameter FILE = ""
) (
    input  wire                   aclk,
    input  wire                   play,
    input  wire                   pause,
    input  wire [31:0]            number,
    output reg  [31:0]            beats,
    output wire [8*BUS_BYTES-1:0] tdata,
    output wire [BUS_BYTES-1:0]   tkeep,
    output wire                   tlast,
    output reg                    tvalid,
    input  wire                   tready
);
    localparam RECORD_BYTES = BUS_BYTES + 3;     // TLAST, TKEEP in two bytes, then data
    reg [8*RECORD_BYTES-1:0] record, next;
    reg playing;
    integer file, count;
    assign tdata = record[8*BUS_BYTES-1:0];
    assign tkeep = record[8*BUS_BYTES +: BUS_BYTES];
    assign tlast = record[8*BUS_BYTES+16];
    initial begin playing = 0; record = 0; tvalid = 0; beats = 0; end
    always @(posedge aclk) begin
        playing <= play;
        if (play & ~playing) begin
            file = $fopen($sformatf("%s%0d.bin", FILE, number), "rb");
            beats <= 0;
        end else if (play) begin
            if (tvalid & tready) begin
                tvalid <= 0;
                beats <= beats + 1;
            end
            if ((tready | ~tvalid) & ~pause) begin
                count = $fread(next, file);
                record <= next;
                tvalid <= count == RECORD_BYTES;
            end
        end else if (playing) begin
            $fclose(file);
            tvalid <= 0;
        end
    end
endmodule

// Writes a record for each beat that is taken.
module recorder #(
    parameter BUS_BYTES = 8,
    parameter FILE = ""
) (
    input  wire                   aclk,
    input  wire                   play,
    input  wire [31:0]            number,
    output reg  [31:0]            beats,
    input  wire [8*BUS_BYTES-1:0] tdata,
    input  wire [BUS_BYTES-1:0]   tkeep,
    input  wire                   tlast,
    input  wire                   tuser,
    input  wire                   tvalid,
    input  wire                   tready
);
    reg playing;
    integer file;
    initial begin playing = 0; beats = 0; end
    always @(posedge aclk) begin
        playing <= play;
        if (play & ~playing) begin
            file = $fopen($sformatf("%s%0d.bin", FILE, number), "wb");
            beats <= 0;
        end else if (play) begin
            if (tvalid & tready) begin
                beats <= beats + 1;
                $fwrite(file, "%u", {7'b0, tuser, 7'b0, tlast, {(16-BUS_BYTES){1'b0}}, tkeep, tdata});
                if (tlast) $fflush(file);
            end
        end else if (playing) begin
            $fclose(file);
        end
    end
endmodule

// All three streams of a unit: plays `weights` and `acts`, records `results`, files with the number of
// the queue behind their names, and counts what passes. Gaps are drawn at random, in 256ths.
module stream_ends #(
    parameter BUS_BYTES = 8
) (
    input  wire                   aclk,

    output wire [8*BUS_BYTES-1:0] weights_tdata,
    output wire [BUS_BYTES-1:0]   weights_tkeep,
    output wire                   weights_tlast,
    output wire                   weights_tvalid,
    input  wire                   weights_tready,
    output wire [8*BUS_BYTES-1:0] acts_tdata,
    output wire [BUS_BYTES-1:0]   acts_tkeep,
    output wire                   acts_tlast,
    output wire                   acts_tvalid,
    input  wire                   acts_tready,
    output reg                    ready,         // for results, while `play` is up
    input  wire [8*BUS_BYTES-1:0] results_tdata,
    input  wire [BUS_BYTES-1:0]   results_tkeep,
    input  wire                   results_tlast,
    input  wire                   results_tuser,
    input  wire                   results_tvalid,
    input  wire                   results_tready, // as the unit sees it

    input  wire                   play,
    input  wire [31:0]            number,
    input  wire [31:0]            seed,          // of the gaps, not 0
    input  wire [7:0]             gap_weights,
    input  wire [7:0]             gap_acts,
    input  wire [7:0]             gap_results,
    input  wire [31:0]            packets,       // of results to wait for
    input  wire                   expect_,       // they are counted from here on
    input  wire [2:0]             pause,         // of results, acts and weights, beside the gaps
    output reg  [31:0]            cycle,         // since time 0
    output reg                    done,
    output reg  [31:0]            first_cycle,   // of the first activation beat since `play` rose
    output reg  [31:0]            last_cycle,    // of the last result packet's last beat
    output wire [31:0]            weight_beats,
    output wire [31:0]            act_beats,
    output wire [31:0]            result_beats,
    output reg  [31:0]            offer_cycle,   // from which on beats may be offered
    output reg  [31:0]            weight_stalls, // cycles from then on in which the ends alone held
    output reg  [31:0]            act_stalls,    // the port up: they had no beat, or took none
    output reg  [31:0]            result_stalls
);
    reg playing, offering;
    reg [31:0] packets_seen, random;
    wire [31:0] shifted = random ^ (random << 13);
    wire [31:0] mixed = shifted ^ (shifted >> 17);

    player #(.BUS_BYTES(BUS_BYTES), .FILE("weights")) weights (
        .aclk(aclk), .play(play), .pause(random[7:0] < gap_weights | pause[0]), .number(number),
        .beats(weight_beats), .tdata(weights_tdata), .tkeep(weights_tkeep), .tlast(weights_tlast),
        .tvalid(weights_tvalid), .tready(weights_tready));
    player #(.BUS_BYTES(BUS_BYTES), .FILE("acts")) acts (
        .aclk(aclk), .play(play), .pause(random[15:8] < gap_acts | pause[1]), .number(number),
        .beats(act_beats), .tdata(acts_tdata), .tkeep(acts_tkeep), .tlast(acts_tlast),
        .tvalid(acts_tvalid), .tready(acts_tready));
    recorder #(.BUS_BYTES(BUS_BYTES), .FILE("results")) results (
        .aclk(aclk), .play(play), .number(number), .beats(result_beats), .tdata(results_tdata), .tkeep(results_tkeep),
        .tlast(results_tlast), .tuser(results_tuser), .tvalid(results_tvalid),
        .tready(results_tready));

    wire act_taken = acts_tvalid & acts_tready;
    wire last_taken = results_tvalid & results_tready & results_tlast;
    initial begin
        playing = 0; offering = 0; ready = 0; done = 0; cycle = 0; packets_seen = 0; random = 1;
        first_cycle = 0; last_cycle = 0; offer_cycle = 0;
        weight_stalls = 0; act_stalls = 0; result_stalls = 0;
    end
    always @(posedge aclk) begin
        cycle <= cycle + 1;
        random <= mixed ^ (mixed << 5);
        playing <= play;
        offering <= play & playing;
        ready <= play & playing & random[23:16] >= gap_results & ~pause[2];
        if (play & ~playing) begin
            random <= seed;
            done <= 0;
            offer_cycle <= cycle + 2;
            {first_cycle, last_cycle, packets_seen} <= 0;
            {weight_stalls, act_stalls, result_stalls} <= 0;
        end else if (play) begin
            if (act_taken & act_beats == 0) first_cycle <= cycle;
            if (last_taken) begin
                last_cycle <= cycle;
                packets_seen <= packets_seen + 1;
                if (packets_seen + 1 >= packets | results_tuser) done <= 1;
            end
            if (expect_) begin packets_seen <= 0; done <= 0; end
            if (offering & ~done) begin
                if (weights_tready & ~weights_tvalid) weight_stalls <= weight_stalls + 1;
                if (acts_tready & ~acts_tvalid) act_stalls <= act_stalls + 1;
                if (results_tvalid & ~results_tready) result_stalls <= result_stalls + 1;
            end
        end
    end
endmodule
