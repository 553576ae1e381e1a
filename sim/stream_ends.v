// Ends of the streams in a bench: what offers beats from a file, and what writes them to one.

// Offers the beats of a file. A beat that is offered stays until it is taken.
module player #(
    parameter BUS_BYTES = 8,
    parameter FILE = ""
) (
    input  wire                   aclk,
    input  wire                   play,
    input  wire                   pause,
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
            file = $fopen(FILE, "rb");
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

// Writes a line for each beat that is taken, and watches the rules of AXI4-Stream.
module recorder #(
    parameter BUS_BYTES = 8,
    parameter FILE = ""
) (
    input  wire                   aclk,
    input  wire                   aresetn,
    input  wire                   play,
    output reg  [31:0]            beats,
    output reg  [31:0]            violations,
    input  wire [8*BUS_BYTES-1:0] tdata,
    input  wire [BUS_BYTES-1:0]   tkeep,
    input  wire                   tlast,
    input  wire                   tuser,
    input  wire                   tvalid,
    input  wire                   tready
);
    reg playing, held;
    reg [9*BUS_BYTES+1:0] payload_q;
    wire [9*BUS_BYTES+1:0] payload = {tuser, tlast, tkeep, tdata};
    wire [BUS_BYTES:0] keep_next = {1'b0, tkeep} + 1;
    integer file;
    initial begin playing = 0; beats = 0; held = 0; payload_q = 0; violations = 0; end
    always @(posedge aclk) begin
        playing <= play;
        if (play & ~playing) begin
            file = $fopen(FILE, "w");
            beats <= 0;
        end else if (play) begin
            if (tvalid & tready) begin
                beats <= beats + 1;
                $fdisplay(file, "%h", {7'b0, tuser, 7'b0, tlast, {(16-BUS_BYTES){1'b0}}, tkeep, tdata});
                if (tlast) $fflush(file);
            end
        end else if (playing) begin
            $fclose(file);
        end
        held <= aresetn & tvalid & ~tready;
        payload_q <= payload;
        if (aresetn & (
                (held & (~tvalid | (payload != payload_q))) |                  // withdrawn, changed
                (tvalid & ~tlast & ~&tkeep) |
                (tvalid & (|({1'b0, tkeep} & keep_next) | ~tkeep[0])) |        // gaps in TKEEP
                (tvalid & tuser & ~tlast)))
            violations <= violations + 1;
    end
endmodule
