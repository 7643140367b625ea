import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/** `kafka-acls.sh` once for each line of a file, after the arguments that all have in common: one start of Java for all. */
class Acls {
    public static void main(String[] arguments) throws Exception {
        String[] common = Stream.of(arguments).skip(1).toArray(String[]::new);
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            Stream<String> all = Stream.concat(Stream.of(common), Stream.of(line.split(" ")));
            org.apache.kafka.tools.AclCommand.main(all.toArray(String[]::new)); // ends the process where it fails
        }
    }
}
